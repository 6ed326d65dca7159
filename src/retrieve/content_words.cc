#include "src/retrieve/content_words.h"

#include <algorithm>

namespace offbook::retrieve {
namespace {

// As stemmed; the full-text index keeps them.
bool is_function_word(std::string_view w) {
  static constexpr std::string_view kWords[] = {
      "a",    "an",   "and",   "ar",    "are",  "as",   "at",    "be",   "by",   "did",  "do",
      "doe",  "does", "for",   "from",  "had",  "ha",   "has",   "have", "he",   "her",  "hi",
      "his",  "how",  "i",     "in",    "is",   "it",   "of",    "on",   "or",   "s",    "she",
      "that", "the",  "their", "thei",  "they", "thi",  "this",  "to",   "wa",   "was",  "were",
      "what", "when", "where", "which", "who",  "whom", "whose", "why",  "will", "with", "you"};
  return std::find(std::begin(kWords), std::end(kWords), w) != std::end(kWords);
}

}  // namespace

std::vector<std::string> content_words(const store::WordCutter& cutter, std::string_view text) {
  std::vector<std::string> words;
  cutter.cut(text, [&](std::string_view term, std::string_view) {
    if (!is_function_word(term)) {
      words.emplace_back(term);
    }
  });
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

}  // namespace offbook::retrieve
