// Surprisals of every token of a text under a language model, sentence by sentence.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "src/compress/selective_context/units.h"
#include "src/model/llama.h"
#include "src/text/tokenizer.h"

namespace offbook::compress {

struct SurprisalOptions {
  // Stands before every sentence, so that its first token has a value. Absent: "<|endoftext|>"
  // where the vocabulary has it, else bos, else eos, else token 0.
  std::optional<int32_t> start_token;
  // Tokens a sentence may have in one piece, with the start token: the smaller of this and the
  // model's window. Longer ones are read in pieces, each with the last eighth of the piece before
  // in front.
  int32_t window = 1024;
  int32_t rows_per_pass = 2048;  // bounds memory: as many sentences share a pass as fit
  Dtype activations = Dtype::f32;
};

// −ln p(token | the sentence's tokens before it) of all tokens of the sentences, whose spans are of
// `collapsed`. Sentences are packed, several a pass, and see themselves only: the values do not
// depend on their neighbours beyond the rounding of the products. Without padding, and without
// [tokens, vocab] in memory. InvalidArgument for a window or pass below 16. One forward pass over
// the tokens, one row more a sentence, and the head for every row.
std::vector<ScoredSentence> score_sentences(const backend::ExecutionContext& ctx,
                                            const model::Llama& model,
                                            const text::Tokenizer& tokenizer,
                                            std::string_view collapsed,
                                            std::span<const ByteSpan> sentences,
                                            const SurprisalOptions& options);

}  // namespace offbook::compress
