// The tokeniser inside a GGUF file (keys tokenizer.ggml.*) → a Tokenizer.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/text/tokenizer.h"

namespace offbook::text {

// The metadata as it stands in the file; what the file does not have stays empty. A reader of GGUF
// fills it, so that this folder knows nothing of the format.
struct GgufVocabulary {
  std::string model;                          // tokenizer.ggml.model: "gpt2" or "llama"
  std::string pre;                            // .pre
  std::vector<std::string> tokens;            // .tokens
  std::vector<float> scores;                  // .scores
  std::vector<int32_t> token_types;           // .token_type
  std::vector<std::string> merges;            // .merges, "a b"
  std::optional<int64_t> bos, eos, unk, pad;  // .bos_token_id, .eos_…, .unknown_…, .padding_…
  std::optional<bool> add_bos, add_eos;       // .add_bos_token, .add_eos_token
  std::optional<bool> add_space_prefix;       // .add_space_prefix
};

// Unsupported for another model, or a `pre` that is not known; Corrupt for fields that contradict
// each other. Where the file is silent: bos is added for "llama" and for Llama 3's `pre`, eos
// never.
std::unique_ptr<Tokenizer> make_gguf_tokenizer(GgufVocabulary vocabulary);

}  // namespace offbook::text
