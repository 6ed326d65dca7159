#include "src/evaluate/token_text.h"

#include <algorithm>

namespace offbook::evaluate {
namespace {

bool is_inside_character(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

}  // namespace

text::Encoding plain_tokens(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .is_continuation = true});
}

int64_t count_tokens(const text::Tokenizer& tokenizer, std::string_view text) {
  return static_cast<int64_t>(plain_tokens(tokenizer, text).ids.size());
}

TokenCount counter_of(const text::Tokenizer& tokenizer) {
  return [&tokenizer](std::string_view text) { return count_tokens(tokenizer, text); };
}

std::string_view first_tokens(const text::Tokenizer& tokenizer, std::string_view text,
                              int64_t tokens) {
  const text::Encoding encoding = plain_tokens(tokenizer, text);
  if (static_cast<int64_t>(encoding.ids.size()) <= tokens) {
    return text;
  }
  for (int64_t n = tokens; n > 0; --n) {
    size_t end = encoding.spans[static_cast<size_t>(n - 1)].end;
    while (is_inside_character(text, end)) {
      --end;
    }
    const std::string_view part = text.substr(0, end);
    if (count_tokens(tokenizer, part) <= tokens) {
      return part;
    }
  }
  return text.substr(0, 0);
}

std::string_view last_tokens(const text::Tokenizer& tokenizer, std::string_view text,
                             int64_t tokens) {
  const text::Encoding encoding = plain_tokens(tokenizer, text);
  const auto all = static_cast<int64_t>(encoding.ids.size());
  if (all <= tokens) {
    return text;
  }
  for (int64_t n = tokens; n > 0; --n) {
    size_t begin = encoding.spans[static_cast<size_t>(all - n)].begin;
    while (is_inside_character(text, begin)) {
      ++begin;
    }
    const std::string_view part = text.substr(begin);
    if (count_tokens(tokenizer, part) <= tokens) {
      return part;
    }
  }
  return text.substr(text.size());
}

}  // namespace offbook::evaluate
