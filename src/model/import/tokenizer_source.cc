#include "src/model/import/tokenizer_source.h"

#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::model {
namespace {

std::optional<int64_t> find_id(const GgufFile& file, std::string_view key) {
  return file.find_int(key, 0, INT32_MAX);
}

void check_size(const GgufFile& file, std::string_view key, size_t size, size_t tokens) {
  OB_REQUIRE(size == 0 || size == tokens, Corrupt, "{}: metadata {}: {} entries for {} tokens",
             file.file(), key, size, tokens);
}

void check_fits(const std::string& where, size_t tokens, int64_t rows) {
  OB_REQUIRE(tokens <= static_cast<size_t>(rows), Corrupt,
             "{}: {} tokens, but the embedding has {} rows", where, tokens, rows);
}

std::vector<std::string> find_texts(const GgufFile& file, std::string_view key) {
  const auto views = file.find_strings(key);
  return views ? std::vector<std::string>(views->begin(), views->end())
               : std::vector<std::string>();
}

}  // namespace

TokenizerSource tokenizer_source_of_gguf(const GgufFile& file) {
  TokenizerSource out;
  text::GgufVocabulary& v = out.vocabulary;
  v.model = file.get_string("tokenizer.ggml.model");
  v.pre = file.find_string("tokenizer.ggml.pre").value_or("");
  v.tokens = find_texts(file, "tokenizer.ggml.tokens");
  v.scores = file.find_floats("tokenizer.ggml.scores").value_or(std::vector<float>());
  v.token_types = file.find_ints("tokenizer.ggml.token_type").value_or(std::vector<int32_t>());
  v.merges = find_texts(file, "tokenizer.ggml.merges");
  v.bos = find_id(file, "tokenizer.ggml.bos_token_id");
  v.eos = find_id(file, "tokenizer.ggml.eos_token_id");
  v.unk = find_id(file, "tokenizer.ggml.unknown_token_id");
  v.pad = find_id(file, "tokenizer.ggml.padding_token_id");
  v.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
  v.add_eos = file.find_bool("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix");
  out.chat_template = file.find_string("tokenizer.chat_template").value_or("");
  OB_REQUIRE(!v.tokens.empty(), Corrupt, "{}: metadata tokenizer.ggml.tokens is missing or empty",
             file.file());
  check_size(file, "tokenizer.ggml.scores", v.scores.size(), v.tokens.size());
  check_size(file, "tokenizer.ggml.token_type", v.token_types.size(), v.tokens.size());
  if (const GgufTensorInfo* embedding = file.find_tensor("token_embd.weight")) {
    check_fits(file.file(), v.tokens.size(), embedding->shape[0]);
  }
  return out;
}

text::LoadedTokenizer load_tokenizer(FileSystem& fs, const ModelFiles& files) {
  if (!files.gguf) {
    text::LoadedTokenizer loaded = text::load_tokenizer(fs, files.path);
    check_fits(files.path.string(), static_cast<size_t>(loaded.tokenizer->vocab_size()),
               files.config.vocab_size);
    return loaded;
  }
  TokenizerSource source = tokenizer_source_of_gguf(*files.gguf);
  try {
    return {text::make_gguf_tokenizer(std::move(source.vocabulary)),
            std::move(source.chat_template)};
  } catch (Error& e) {
    e.add_context(files.gguf->file());
    throw;
  }
}

}  // namespace offbook::model
