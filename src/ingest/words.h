// A text cut at white space, with where each word stands; English word classes that rules need.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::ingest {

struct Word {
  std::string_view text;          // without punctuation around it
  ByteSpan span;                  // of `text`
  bool is_broken_after = false;   // punctuation stands behind it
  bool is_broken_before = false;  // punctuation stands in front of it
};

// Words of text[within], with spans of `text`. Tokens of punctuation alone are no words; they
// break.
std::vector<Word> words_of(std::string_view text, ByteSpan within);

bool begins_with_capital(std::string_view word);  // ASCII or a two-byte UTF-8 capital letter
bool is_number(std::string_view word);            // "12", "1,234", "3.5", "twelve"
bool is_year(std::string_view word);              // 1000–2099
bool is_month(std::string_view word);
bool is_weekday(std::string_view word);
bool is_pronoun(std::string_view word);        // "he", "this", "there"…, any case
bool is_function_word(std::string_view word);  // articles, prepositions, conjunctions, pronouns…

// "The committee" → "the committee"; names and "I" stay.
std::string lower_article(std::string_view text);

}  // namespace offbook::ingest
