#include "src/compress/data/shards.h"

#include <algorithm>
#include <numeric>

#include <zstd.h>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/store/artefact.h"
#include "src/store/pack.h"

namespace offbook::compress {
namespace {

constexpr int kLevel = 15;
constexpr uint64_t kMaxBytes = uint64_t{4} << 30;  // of one unpacked stream

// Numbers as 2 bytes each where all are below 65,536, else as 4; little-endian, one zstd frame.
Tensor pack(std::span<const int32_t> values, int width) {
  std::vector<std::byte> plain(values.size() * static_cast<size_t>(width));
  for (size_t i = 0; i < values.size(); ++i) {
    for (int b = 0; b < width; ++b) {
      plain[i * static_cast<size_t>(width) + static_cast<size_t>(b)] =
          static_cast<std::byte>(static_cast<uint32_t>(values[i]) >> (8 * b));
    }
  }
  std::vector<std::byte> packed(ZSTD_compressBound(plain.size()));
  const size_t n = ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), kLevel);
  OB_REQUIRE(ZSTD_isError(n) == 0, OutOfMemory, "packing a shard: {}", ZSTD_getErrorName(n));
  Tensor out = Tensor::empty(Dtype::u8, {static_cast<int64_t>(n)});
  std::copy_n(packed.data(), n, out.raw());
  return out;
}

std::vector<int32_t> unpack(const store::Artefact& artefact, const char* name, int width,
                            uint64_t count) {
  const Tensor& packed = artefact.at(name);
  OB_REQUIRE(packed.dtype() == Dtype::u8 && packed.rank() == 1 &&
                 count <= kMaxBytes / static_cast<uint64_t>(width),
             Corrupt, "{} is {} for {} numbers", name, to_string(packed), count);
  const std::string plain = store::decompress({packed.raw(), static_cast<size_t>(packed.bytes())},
                                              count * static_cast<uint64_t>(width));
  OB_REQUIRE(plain.size() == count * static_cast<uint64_t>(width), Corrupt,
             "{} holds {} bytes, wanted {} numbers of {}", name, plain.size(), count, width);
  std::vector<int32_t> out(count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t v = 0;
    for (int b = 0; b < width; ++b) {
      v |= static_cast<uint32_t>(static_cast<unsigned char>(
               plain[i * static_cast<size_t>(width) + static_cast<size_t>(b)]))
           << (8 * b);
    }
    out[i] = static_cast<int32_t>(v);
  }
  return out;
}

int width_of(std::span<const int32_t> values) {
  return std::all_of(values.begin(), values.end(), [](int32_t v) { return v >= 0 && v < 65536; })
             ? 2
             : 4;
}

constexpr int kRecordFields = 5;  // kind, evidence begin, evidence end, question, answer

void add_shard(const store::Artefact& artefact, const std::string& file, TrainingSet& to) {
  OB_REQUIRE(artefact.kind == store::ArtefactKind::training_shard, InvalidArgument,
             "{}: an artefact of the kind {}, no training shard", file,
             store::to_string(artefact.kind));
  const JsonFields fields(artefact.fields, file);
  const auto tokens = static_cast<uint64_t>(fields.get_int("tokens", 0, INT64_MAX / 8));
  const auto examples = static_cast<uint64_t>(fields.get_int("examples", 0, INT64_MAX / 64));
  const auto texts = static_cast<uint64_t>(fields.get_int("example_tokens", 0, INT64_MAX / 8));
  const auto width = static_cast<int>(fields.get_int("token_bytes", 2, 4));
  OB_REQUIRE(width != 3, Corrupt, "{}: tokens of 3 bytes", file);
  const std::vector<int32_t> stream = unpack(artefact, "tokens", width, tokens);
  const std::vector<int32_t> words = unpack(artefact, "example_tokens", width, texts);
  const std::vector<int32_t> records = unpack(artefact, "examples", 4, examples * kRecordFields);
  const nlohmann::json* documents = fields.find("documents");
  OB_REQUIRE(documents != nullptr && documents->is_array(), Corrupt, "{}: no documents", file);
  size_t token = 0;
  size_t word = 0;
  size_t record = 0;
  const auto take = [&](const std::vector<int32_t>& from, size_t& at, int64_t n) {
    OB_REQUIRE(n >= 0 && static_cast<size_t>(n) <= from.size() - at, Corrupt,
               "{}: {} tokens wanted at {} of {}", file, n, at, from.size());
    const auto first = from.begin() + static_cast<std::ptrdiff_t>(at);
    at += static_cast<size_t>(n);
    return std::vector<int32_t>(first, first + n);
  };
  for (const nlohmann::json& entry : *documents) {
    const JsonFields d(entry, file);
    TrainingDocument document{.group = d.get_string("group"),
                              .title = d.get_string("title"),
                              .licence = d.get_string("licence"),
                              .source = d.get_string("source"),
                              .weight = d.get_float("weight", 0, 1e6)};
    document.tokens = take(stream, token, d.get_int("tokens", 1, INT32_MAX));
    const int64_t count = d.get_int("examples", 0, INT32_MAX);
    OB_REQUIRE(static_cast<size_t>(count) <= examples - record, Corrupt,
               "{}: more examples than there are", file);
    for (int64_t i = 0; i < count; ++i, ++record) {
      const int32_t* r = records.data() + record * kRecordFields;
      const auto size = static_cast<int32_t>(document.tokens.size());
      OB_REQUIRE(r[0] >= 0 && r[0] < kExampleKinds && r[1] >= 0 && r[1] <= r[2] && r[2] <= size,
                 Corrupt, "{}: example {} of kind {} rests on tokens {}…{} of {}", file, record,
                 r[0], r[1], r[2], size);
      TrainingExample example{
          .kind = static_cast<ExampleKind>(r[0]), .evidence_begin = r[1], .evidence_end = r[2]};
      example.question = take(words, word, r[3]);
      example.answer = take(words, word, r[4]);
      OB_REQUIRE(!example.question.empty() && !example.answer.empty(), Corrupt,
                 "{}: example {} has no question or no answer", file, record);
      document.examples.push_back(std::move(example));
    }
    to.documents.push_back(std::move(document));
  }
  OB_REQUIRE(token == tokens && word == texts && record == examples, Corrupt,
             "{}: {} tokens, {} of examples and {} examples belong to no document", file,
             tokens - token, texts - word, examples - record);
}

}  // namespace

std::string_view to_string(ExampleKind kind) noexcept {
  constexpr std::string_view kNames[kExampleKinds] = {"given", "asked", "cloze", "keywords"};
  return kNames[static_cast<size_t>(kind)];
}

int64_t TrainingSet::tokens() const {
  return std::accumulate(
      documents.begin(), documents.end(), int64_t{0},
      [](int64_t n, const auto& d) { return n + static_cast<int64_t>(d.tokens.size()); });
}

int64_t TrainingSet::examples() const {
  return std::accumulate(
      documents.begin(), documents.end(), int64_t{0},
      [](int64_t n, const auto& d) { return n + static_cast<int64_t>(d.examples.size()); });
}

TrainingText text_of(const TrainingSet& set) {
  TrainingText text;
  for (const TrainingDocument& d : set.documents) {
    text.add(d.group, d.tokens);
  }
  return text;
}

void save_shard(FileSystem& fs, const std::filesystem::path& path, const TrainingSet& shard) {
  std::vector<int32_t> tokens;
  std::vector<int32_t> texts;
  std::vector<int32_t> records;
  nlohmann::json documents = nlohmann::json::array();
  for (const TrainingDocument& d : shard.documents) {
    tokens.insert(tokens.end(), d.tokens.begin(), d.tokens.end());
    for (const TrainingExample& e : d.examples) {
      records.insert(records.end(), {static_cast<int32_t>(e.kind), e.evidence_begin, e.evidence_end,
                                     static_cast<int32_t>(e.question.size()),
                                     static_cast<int32_t>(e.answer.size())});
      texts.insert(texts.end(), e.question.begin(), e.question.end());
      texts.insert(texts.end(), e.answer.begin(), e.answer.end());
    }
    documents.push_back({{"group", d.group},
                         {"title", d.title},
                         {"licence", d.licence},
                         {"source", d.source},
                         {"weight", d.weight},
                         {"tokens", d.tokens.size()},
                         {"examples", d.examples.size()}});
  }
  const int width = std::max(width_of(tokens), width_of(texts));
  const store::Artefact artefact{.kind = store::ArtefactKind::training_shard,
                                 .model = shard.tokenizer,
                                 .fields = {{"recipe", shard.recipe},
                                            {"lead", shard.lead},
                                            {"tokens", tokens.size()},
                                            {"examples", records.size() / kRecordFields},
                                            {"example_tokens", texts.size()},
                                            {"token_bytes", width},
                                            {"documents", std::move(documents)}},
                                 .tensors = {{"tokens", pack(tokens, width)},
                                             {"example_tokens", pack(texts, width)},
                                             {"examples", pack(records, 4)}}};
  write_file_atomically(fs, path, store::encode_artefact(artefact));
}

TrainingSet load_shards(FileSystem& fs, const std::filesystem::path& path,
                        const Fingerprint& base) {
  std::vector<std::filesystem::path> files;
  const auto info = fs.stat(path);
  OB_REQUIRE(info, NotFound, "no training data at {}", path.string());
  if (info->is_directory) {
    for (const std::string& name : fs.list(path)) {
      if (name.ends_with(".shard")) {
        files.push_back(path / name);
      }
    }
  } else {
    files.push_back(path);
  }
  OB_REQUIRE(!files.empty(), NotFound, "{}: no .shard files; `offbook data build` makes them",
             path.string());
  TrainingSet out{.tokenizer = base.family};
  for (const std::filesystem::path& file : files) {
    const store::Artefact artefact = store::decode_artefact(fs.open(file), file.string());
    OB_REQUIRE(artefact.model == base.family, InvalidArgument,
               "{}: tokens of the model family {}, the model here is of {}: build the data again",
               file.string(), artefact.model, base.family);
    const auto recipe = store::field<std::string>(artefact, "recipe");
    OB_REQUIRE(out.recipe.empty() || out.recipe == recipe, InvalidArgument,
               "{}: made by another recipe than {}", file.string(), files.front().string());
    out.recipe = recipe;
    out.lead = store::field<std::vector<int32_t>>(artefact, "lead");
    add_shard(artefact, file.string(), out);
  }
  return out;
}

}  // namespace offbook::compress
