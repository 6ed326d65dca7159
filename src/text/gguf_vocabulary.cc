#include "src/text/gguf_vocabulary.h"

#include <utility>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/text/bpe.h"
#include "src/text/spm.h"

namespace offbook::text {
namespace {

std::vector<TokenType> types_of(const GgufVocabulary& vocabulary) {
  std::vector<TokenType> types;
  types.reserve(vocabulary.token_types.size());
  for (const int32_t type : vocabulary.token_types) {
    OB_REQUIRE(type >= 1 && type <= 6, Corrupt,
               "tokenizer.ggml.token_type: token {} has type {}, wanted 1…6", types.size(), type);
    types.push_back(static_cast<TokenType>(type));
  }
  return types;
}

std::optional<int32_t> checked(std::optional<int64_t> id, size_t size, const char* key) {
  OB_REQUIRE(!id || (*id >= 0 && static_cast<uint64_t>(*id) < size), Corrupt,
             "tokenizer.ggml.{}: token {} is not one of {}", key, *id, size);
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

SpecialIds special_of(const GgufVocabulary& v) {
  const size_t size = v.tokens.size();
  const bool is_llama3 =
      v.model == "gpt2" && pre_tokenizer_of_gguf(v.pre) == PreTokenizerKind::llama3;
  return {.bos = checked(v.bos, size, "bos_token_id"),
          .eos = checked(v.eos, size, "eos_token_id"),
          .unk = checked(v.unk, size, "unknown_token_id"),
          .pad = checked(v.pad, size, "padding_token_id"),
          .add_bos = v.add_bos.value_or(v.model == "llama" || is_llama3),
          .add_eos = v.add_eos.value_or(false)};
}

std::vector<AddedToken> added_of(const GgufVocabulary& vocabulary,
                                 const std::vector<TokenType>& types) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < types.size(); ++i) {
    const bool is_control = types[i] == TokenType::control || types[i] == TokenType::unknown;
    if (is_control || types[i] == TokenType::user_defined) {
      added.push_back({.content = vocabulary.tokens[i],
                       .id = static_cast<int32_t>(i),
                       .is_special = is_control});
    }
  }
  return added;
}

std::vector<std::array<std::string, 2>> merges_of(const std::vector<std::string>& lines) {
  std::vector<std::array<std::string, 2>> merges;
  merges.reserve(lines.size());
  for (const std::string& line : lines) {
    const size_t space = line.find(' ', 1);  // a piece is never empty
    OB_REQUIRE(space != std::string::npos && space + 1 < line.size(), Corrupt,
               "tokenizer.ggml.merges: entry {} is \"{}\", wanted two pieces with a space between",
               merges.size(), printable(line));
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

std::unique_ptr<Tokenizer> make_gpt2(GgufVocabulary v) {
  const auto kind = pre_tokenizer_of_gguf(v.pre);
  OB_REQUIRE(kind, Unsupported,
             "tokenizer.ggml.pre \"{}\" is not known; known are gpt-2, llama-bpe, qwen2, smollm",
             printable(v.pre));
  BpeSpec spec{.types = types_of(v), .merges = merges_of(v.merges), .special = special_of(v)};
  spec.added = added_of(v, spec.types);
  spec.pieces = std::move(v.tokens);
  spec.pre_tokenizer = *kind;
  if (*kind == PreTokenizerKind::qwen2) {
    spec.normal_form = NormalForm::nfc;
  }
  spec.takes_whole_words = *kind == PreTokenizerKind::llama3;
  return make_bpe_tokenizer(std::move(spec));
}

std::unique_ptr<Tokenizer> make_llama(GgufVocabulary v) {
  SpmSpec spec{.types = types_of(v), .special = special_of(v)};
  spec.added = added_of(v, spec.types);
  spec.pieces = std::move(v.tokens);
  spec.scores = std::move(v.scores);
  spec.prefix = v.add_space_prefix.value_or(true) ? SpacePrefix::section : SpacePrefix::never;
  return make_spm_tokenizer(std::move(spec));
}

}  // namespace

std::unique_ptr<Tokenizer> make_gguf_tokenizer(GgufVocabulary v) {
  OB_REQUIRE(!v.tokens.empty(), Corrupt, "tokenizer.ggml.tokens is empty or not there");
  OB_REQUIRE(v.token_types.empty() || v.token_types.size() == v.tokens.size(), Corrupt,
             "tokenizer.ggml.token_type has {} entries for {} tokens", v.token_types.size(),
             v.tokens.size());
  if (v.model == "gpt2") {
    return make_gpt2(std::move(v));
  }
  OB_REQUIRE(v.model == "llama", Unsupported,
             "tokenizer.ggml.model \"{}\" is not one of gpt2, llama", printable(v.model));
  return make_llama(std::move(v));
}

}  // namespace offbook::text
