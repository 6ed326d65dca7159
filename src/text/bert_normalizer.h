// The cleaning and the word boundaries of BERT.
#pragma once
#include <string_view>

#include "src/text/aligned_text.h"

namespace offbook::text {

struct BertCleaning {
  bool cleans_text = true;
  bool spaces_ideographs = true;
  bool strips_accents = true;
  bool lowers_case = true;
};

// The cleaned form of well-formed text.
AlignedText clean_for_bert(std::string_view text, const BertCleaning& how);

// Is the character a word of its own? ASCII symbols count as punctuation.
bool is_bert_punctuation(char32_t code) noexcept;

}  // namespace offbook::text
