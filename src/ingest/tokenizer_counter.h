// The real tokenisers behind TokenCounter.
#pragma once
#include "src/ingest/token_counter.h"
#include "src/text/tokenizer.h"

namespace offbook::ingest {

// Counts with a language model's tokeniser (no special tokens, none read from the text) and a
// sentence encoder's (with its own). Keeps references to both. Thread-safe.
class TokenizerCounter final : public TokenCounter {
 public:
  TokenizerCounter(const text::Tokenizer& base, const text::Tokenizer& encoder)
      : base_(base), encoder_(encoder) {}

  BaseTokens tokenize_base(std::string_view text) const override;
  int encoder_tokens(std::string_view text) const override;

 private:
  const text::Tokenizer& base_;
  const text::Tokenizer& encoder_;
};

}  // namespace offbook::ingest
