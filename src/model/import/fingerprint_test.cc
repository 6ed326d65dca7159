#include "src/model/import/fingerprint.h"

#include "src/base/file_system_memory.h"
#include "src/model/import/tiny_model.h"

namespace offbook::model {
namespace {

class FingerprintTest : public testing::Test {
 protected:
  void SetUp() override { fs_.create_directories("/m"); }
  void put(const std::vector<std::byte>& bytes) { write_file_atomically(fs_, "/m/a.gguf", bytes); }
  Fingerprint take(const std::optional<std::filesystem::path>& cache = {}) {
    return model_fingerprint(fs_, open_model(fs_, "/m/a.gguf"), cache);
  }
  static std::vector<std::byte> with(const std::function<void(GgufWriter&)>& fill) {
    GgufWriter out;
    fill(out);
    TinyModel::set_tokenizer(out);
    TinyModel::add_tensors(out);
    return out.bytes();
  }
  MemoryFileSystem fs_;
};

TEST_F(FingerprintTest, CoversConfigurationTokenizerAndBytes) {
  put(TinyModel::gguf());
  const Fingerprint first = take();
  EXPECT_EQ(first.model.size(), 32u);
  EXPECT_EQ(take(), first);
  auto bytes = TinyModel::gguf();
  bytes[bytes.size() - 40] ^= std::byte{1};  // inside the last tensor
  put(bytes);
  EXPECT_NE(take().model, first.model);
  EXPECT_EQ(take().family, first.family);
  put(with([](GgufWriter& w) {
    TinyModel::set_config(w);
    w.set_f32("llama.rope.freq_base", 20'000);
  }));
  EXPECT_NE(take().model, first.model);
  EXPECT_NE(take().family, first.family);
}

TEST_F(FingerprintTest, FamilyIsSharedByBothFormats) {
  put(TinyModel::gguf());
  const auto write = [&](const std::string& path, std::span<const std::byte> bytes) {
    write_file_atomically(fs_, path, bytes);
  };
  const std::string config = TinyModel::config_json("\"tie_word_embeddings\": true");
  const std::string tokenizer = R"({"version": "1.0", "normalizer": null, "post_processor": null,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "c": 4, "abc": 5},
              "merges": ["a b", "ab c"]}})";
  fs_.create_directories("/hf");
  write("/hf/config.json", std::as_bytes(std::span(config)));
  write("/hf/tokenizer.json", std::as_bytes(std::span(tokenizer)));
  write("/hf/model.safetensors", write_safetensors(TinyModel::tensors()));
  const Fingerprint other = model_fingerprint(fs_, open_model(fs_, "/hf"));
  EXPECT_EQ(other.family, take().family);
  EXPECT_NE(other.model, take().model);
}

TEST_F(FingerprintTest, CacheIsUsedAndNeverInTheWay) {
  put(TinyModel::gguf());
  const Fingerprint first = take("/cache");
  const auto cached = fs_.open("/cache/fingerprints.json");
  std::string text(reinterpret_cast<const char*>(cached->bytes().data()), cached->bytes().size());
  const size_t at = text.find(first.model);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 32, std::string(32, 'a'));
  write_file_atomically(fs_, "/cache/fingerprints.json", std::as_bytes(std::span(text)));
  EXPECT_EQ(take("/cache").model, std::string(32, 'a'));  // read, not computed
  for (const std::string broken :
       {"", "[]", "{\"version\": 1, \"entries\": 3}", "{\"version\": 2, \"entries\": {}}"}) {
    write_file_atomically(fs_, "/cache/fingerprints.json", std::as_bytes(std::span(broken)));
    EXPECT_EQ(take("/cache"), first) << broken;
  }
  fs_.set_faults({.read_only = true});
  EXPECT_EQ(take("/other"), first);
}

}  // namespace
}  // namespace offbook::model
