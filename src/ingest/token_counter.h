// How ingest asks for token counts, so that it depends on no model.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::ingest {

// Tokens of a text and the bytes of it that each came from; same length.
struct BaseTokens {
  std::vector<int32_t> ids;
  std::vector<ByteSpan> spans;
};

// Both tokenisers a passage is measured with. Implementations are deterministic and thread-safe.
class TokenCounter {
 public:
  virtual ~TokenCounter() = default;
  // Of the language model, without special tokens.
  virtual BaseTokens tokenize_base(std::string_view text) const = 0;
  virtual int base_tokens(std::string_view text) const {
    return static_cast<int>(tokenize_base(text).ids.size());
  }
  // Of the sentence encoder, with its special tokens ([CLS], [SEP]) counted.
  virtual int encoder_tokens(std::string_view text) const = 0;
};

}  // namespace offbook::ingest
