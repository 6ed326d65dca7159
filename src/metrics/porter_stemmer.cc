#include "src/metrics/porter_stemmer.h"

#include <span>
#include <utility>

namespace offbook::metrics {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr Pair kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

// Step 2, rules with m > 0, in NLTK's order ("alli" stands before: it starts the step again).
constexpr Pair kStep2[] = {
    {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
    {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
    {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
    {"fulli", "ful"},
};

constexpr Pair kStep3[] = {
    {"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
    {"ical", "ic"},  {"ful", ""},   {"ness", ""},
};

// Step 4: endings dropped where m > 1; "ion" only after s or t.
constexpr std::string_view kStep4[] = {
    "al",  "ance", "ence", "er",  "ic",  "able", "ible", "ant", "ement", "ment",
    "ent", "ion",  "ou",   "ism", "ate", "iti",  "ous",  "ive", "ize",
};

bool is_vowel_letter(char c) {
  return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

// Whether word[i] is a consonant: y is one where no consonant stands before it.
bool is_consonant(std::string_view word, size_t i) {
  bool negate = false;
  for (; i > 0 && word[i] == 'y'; --i) {
    negate = !negate;
  }
  return is_vowel_letter(word[i]) == negate;
}

// Porter's m: how often a consonant follows a vowel.
int measure(std::string_view stem) {
  int m = 0;
  bool previous = true;
  for (size_t i = 0; i < stem.size(); ++i) {
    const bool consonant = is_vowel_letter(stem[i]) ? false
                           : stem[i] == 'y'         ? (i == 0 || !previous)
                                                    : true;
    m += i > 0 && consonant && !previous;
    previous = consonant;
  }
  return m;
}

bool has_vowel(std::string_view stem) {
  for (size_t i = 0; i < stem.size(); ++i) {
    if (is_vowel_letter(stem[i]) || (stem[i] == 'y' && !is_consonant(stem, i))) {
      return true;
    }
  }
  return false;
}

bool ends_in_double_consonant(std::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

// Porter's *o, and NLTK's addition for words of two letters.
bool ends_cvc(std::string_view word) {
  const size_t n = word.size();
  if (n == 2) {
    return !is_consonant(word, 0) && is_consonant(word, 1);
  }
  return n >= 3 && is_consonant(word, n - 3) && !is_consonant(word, n - 2) &&
         is_consonant(word, n - 1) && std::string_view("wxy").find(word[n - 1]) == word.npos;
}

std::string_view cut(std::string_view word, size_t letters) {
  return word.substr(0, word.size() - letters);
}

std::string join(std::string_view stem, std::string_view ending) {
  return std::string(stem).append(ending);
}

// The first rule whose suffix fits decides, also where its condition m > 0 does not hold.
std::string apply_rules(std::string word, std::span<const Pair> rules) {
  for (const auto& [suffix, replacement] : rules) {
    if (word.ends_with(suffix)) {
      const std::string_view stem = cut(word, suffix.size());
      return measure(stem) > 0 ? join(stem, replacement) : word;
    }
  }
  return word;
}

std::string step_1a(std::string word) {
  if (word.ends_with("ies")) {
    return join(cut(word, 3), word.size() == 4 ? "ie" : "i");
  }
  if (word.ends_with("sses")) {
    return join(cut(word, 4), "ss");
  }
  return word.ends_with('s') && !word.ends_with("ss") ? join(cut(word, 1), "") : word;
}

// What follows a dropped "ed" or "ing".
std::string repair_1b(std::string_view stem) {
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) {
    return join(stem, "e");
  }
  if (ends_in_double_consonant(stem)) {
    const char last = stem.back();
    return join(last == 'l' || last == 's' || last == 'z' ? stem : cut(stem, 1), "");
  }
  return join(stem, measure(stem) == 1 && ends_cvc(stem) ? "e" : "");
}

std::string step_1b(std::string word) {
  if (word.ends_with("ied")) {
    return join(cut(word, 3), word.size() == 4 ? "ie" : "i");
  }
  if (word.ends_with("eed")) {
    return measure(cut(word, 3)) > 0 ? join(cut(word, 1), "") : word;
  }
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (word.ends_with(suffix) && has_vowel(cut(word, suffix.size()))) {
      return repair_1b(cut(word, suffix.size()));
    }
  }
  return word;
}

std::string step_1c(std::string word) {
  const size_t n = word.size();
  return word.ends_with('y') && n > 2 && is_consonant(cut(word, 1), n - 2) ? join(cut(word, 1), "i")
                                                                           : word;
}

std::string step_2(std::string word) {
  if (word.ends_with("alli") && measure(cut(word, 4)) > 0) {
    return step_2(join(cut(word, 2), ""));
  }
  std::string out = apply_rules(word, kStep2);
  if (out == word && word.ends_with("logi") && measure(cut(word, 3)) > 0) {
    return join(cut(word, 1), "");
  }
  return out;
}

std::string step_4(std::string word) {
  for (const std::string_view suffix : kStep4) {
    if (word.ends_with(suffix)) {
      const std::string_view stem = cut(word, suffix.size());
      const bool fits = suffix != "ion" || stem.ends_with('s') || stem.ends_with('t');
      return measure(stem) > 1 && fits ? join(stem, "") : word;
    }
  }
  return word;
}

std::string step_5(std::string word) {
  if (word.ends_with('e')) {
    const std::string_view stem = cut(word, 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) {
      word.pop_back();
    }
  }
  if (word.ends_with("ll") && measure(cut(word, 1)) > 1) {
    word.pop_back();
  }
  return word;
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) {
      return std::string(stem);
    }
  }
  if (word.size() <= 2) {
    return std::string(word);
  }
  std::string out = step_2(step_1c(step_1b(step_1a(std::string(word)))));
  return step_5(step_4(apply_rules(std::move(out), kStep3)));
}

}  // namespace offbook::metrics
