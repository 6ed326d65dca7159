#include "src/ingest/words.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace offbook::ingest {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool is_word_byte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || (c & 0x80) != 0;
}

std::string lower(std::string_view word) {
  std::string out(word);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

template <size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), lower(word)) != words.end();
}

// “ ” ‘ ’ – — … are punctuation of three bytes, all beginning E2 80.
size_t punctuation_length(std::string_view text) {
  if (text.starts_with("\xE2\x80")) {
    return 3;
  }
  return text.empty() || is_word_byte(text.front()) ? 0 : 1;
}

size_t punctuation_length_behind(std::string_view text) {
  if (text.size() >= 3 && text.substr(text.size() - 3).starts_with("\xE2\x80")) {
    return 3;
  }
  return text.empty() || is_word_byte(text.back()) ? 0 : 1;
}

constexpr std::array<std::string_view, 13> kMonths = {
    "january", "february",  "march",   "april",    "may",      "june", "july",
    "august",  "september", "october", "november", "december", "sept"};
constexpr std::array<std::string_view, 7> kDays = {"monday", "tuesday",  "wednesday", "thursday",
                                                   "friday", "saturday", "sunday"};
constexpr std::array<std::string_view, 20> kNumbers = {
    "two",    "three",  "four",   "five",   "six",      "seven",    "eight",
    "nine",   "ten",    "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "twenty", "thirty", "forty",  "fifty",  "hundred",  "thousand"};
constexpr std::array<std::string_view, 32> kPronouns = {
    "i",     "you",  "he",   "she",  "it",    "we",  "they", "this",    "that",  "these", "those",
    "there", "here", "who",  "what", "which", "his", "her",  "its",     "their", "our",   "my",
    "your",  "him",  "them", "us",   "me",    "one", "such", "another", "both",  "each"};
constexpr std::array<std::string_view, 48> kFunctionWords = {
    "a",       "an",    "the",    "and",  "or",      "but",  "if",   "when",    "while", "as",
    "at",      "by",    "for",    "from", "in",      "into", "of",   "on",      "to",    "with",
    "without", "after", "before", "so",   "then",    "than", "not",  "no",      "all",   "some",
    "many",    "most",  "more",   "also", "however", "thus", "once", "because", "since", "although",
    "though",  "until", "where",  "how",  "why",     "now",  "yes",  "let"};

}  // namespace

std::vector<Word> words_of(std::string_view text, ByteSpan within) {
  std::vector<Word> words;
  bool is_broken = false;
  for (size_t at = within.begin; at < within.end;) {
    if (is_space(text[at])) {
      ++at;
      continue;
    }
    size_t end = at;
    while (end < within.end && !is_space(text[end])) {
      ++end;
    }
    size_t begin = at, last = end;
    for (size_t n; (n = punctuation_length(text.substr(begin, last - begin))) > 0;) {
      begin += n;
    }
    for (size_t n; (n = punctuation_length_behind(text.substr(begin, last - begin))) > 0;) {
      last -= n;
    }
    if (begin < last) {
      words.push_back({.text = text.substr(begin, last - begin),
                       .span = {begin, last},
                       .is_broken_after = last < end,
                       .is_broken_before = is_broken || begin > at});
      is_broken = false;
    } else {
      is_broken = true;
      if (!words.empty()) {
        words.back().is_broken_after = true;
      }
    }
    at = end;
  }
  return words;
}

bool begins_with_capital(std::string_view word) {
  if (word.size() >= 2 && static_cast<unsigned char>(word[0]) == 0xC3) {
    const auto second = static_cast<unsigned char>(word[1]);
    return second >= 0x80 && second <= 0x9E;  // À…Þ
  }
  return !word.empty() && std::isupper(static_cast<unsigned char>(word[0])) != 0;
}

bool is_number(std::string_view word) {
  if (is_one_of(word, kNumbers)) {
    return true;
  }
  return !word.empty() && std::isdigit(static_cast<unsigned char>(word.front())) != 0 &&
         std::all_of(word.begin(), word.end(), [](unsigned char c) {
           return std::isdigit(c) != 0 || c == ',' || c == '.' || c == '%';
         });
}

bool is_year(std::string_view word) {
  return word.size() == 4 && is_number(word) &&
         word.find_first_of(",.") == std::string_view::npos && word >= "1000" && word <= "2099";
}

bool is_month(std::string_view word) {
  return begins_with_capital(word) && is_one_of(word, kMonths);
}
bool is_weekday(std::string_view word) {
  return begins_with_capital(word) && is_one_of(word, kDays);
}
bool is_pronoun(std::string_view word) {
  return is_one_of(word, kPronouns);
}
bool is_function_word(std::string_view word) {
  return is_one_of(word, kFunctionWords) || is_pronoun(word);
}

std::string lower_article(std::string_view text) {
  std::string out(text);
  const std::string_view first = text.substr(0, text.find(' '));
  if (is_function_word(first) && first != "I") {
    out[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(out[0])));
  }
  return out;
}

}  // namespace offbook::ingest
