// Texts cut by a model's tokens, never inside a character.
#pragma once
#include <cstdint>
#include <string_view>

#include "src/evaluate/generators/case.h"
#include "src/text/tokenizer.h"

namespace offbook::evaluate {

// Without special tokens, as text behind other text: what prompts and budgets count.
text::Encoding plain_tokens(const text::Tokenizer& tokenizer, std::string_view text);
int64_t count_tokens(const text::Tokenizer& tokenizer, std::string_view text);
TokenCount counter_of(const text::Tokenizer& tokenizer);

// The longest beginning (end) of the text that counts at most `tokens`. The cut end may read as
// other tokens than it did inside the text; then less is taken.
std::string_view first_tokens(const text::Tokenizer& tokenizer, std::string_view text,
                              int64_t tokens);
std::string_view last_tokens(const text::Tokenizer& tokenizer, std::string_view text,
                             int64_t tokens);

}  // namespace offbook::evaluate
