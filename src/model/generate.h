// Text from a prompt that is already in a sequence.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "src/model/decoder.h"
#include "src/model/sampler.h"
#include "src/text/tokenizer.h"

namespace offbook::model {

struct GenerateOptions {
  SamplingOptions sampling;
  int32_t max_tokens = 256;
  std::vector<int32_t> stop_tokens;  // end of turn, end of text
  std::vector<std::string> stop_strings;
  const LoraAdapter* adapter = nullptr;
  // Tokens that the answer may copy, such as the prompt's. With some, what followed the last few
  // tokens there is tried several tokens a pass (on the CPU, where the rows of a pass have the bits
  // they have alone): the same answer, sooner where it quotes. Empty: a token a pass.
  std::vector<int32_t> lookup;
  // Gets each stretch of text as soon as it is certain that no stop string begins in it; returns false
  // to end (Ctrl-C, a client that left). May be empty.
  std::function<bool(std::string_view)> on_text;
};

enum class StopReason : uint8_t { stop_token, stop_string, max_tokens, window_full, cancelled };

struct Generated {
  std::string text;           // without the stop string
  std::vector<int32_t> tokens;  // that were chosen, without the stop token
  StopReason reason = StopReason::max_tokens;
  int32_t passes = 0;  // through the model; fewer than tokens where guesses were right
};

// Decodes until a stop. `logits`: of the last row of the prompt, as Decoder::append gave them
// (copied before the next pass). The sequence holds prompt and answer afterwards.
Generated generate(Decoder& decoder, const text::Tokenizer& tokenizer, Sequence& sequence, const Tensor& logits,
                   const GenerateOptions& options);

}  // namespace offbook::model
