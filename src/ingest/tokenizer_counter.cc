#include "src/ingest/tokenizer_counter.h"

namespace offbook::ingest {

BaseTokens TokenizerCounter::tokenize_base(std::string_view text) const {
  text::Encoding encoding = base_.encode(text, {.add_special = false, .parse_special = false});
  return {std::move(encoding.ids), std::move(encoding.spans)};
}

int TokenizerCounter::encoder_tokens(std::string_view text) const {
  const text::EncodeOptions options{.add_special = true, .parse_special = false};
  return static_cast<int>(encoder_.encode(text, options).ids.size());
}

}  // namespace offbook::ingest
