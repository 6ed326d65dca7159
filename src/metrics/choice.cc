#include "src/metrics/choice.h"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/error.h"
#include "src/metrics/python_text.h"
#include "src/metrics/text_scores.h"

namespace offbook::metrics {
namespace {

constexpr std::pair<ChoiceRule, std::string_view> kNames[] = {
    {ChoiceRule::first_letter, "first_letter"},
    {ChoiceRule::leval, "leval"},
    {ChoiceRule::bamboo, "bamboo"},
    {ChoiceRule::lenient, "lenient"},
};

using Found = std::optional<size_t>;

Found letter_index(char c, size_t letters) {
  return c >= 'A' && static_cast<size_t>(c - 'A') < letters ? Found(c - 'A') : std::nullopt;
}

Found by_leval(std::string_view prediction) {
  if (prediction.size() > 1 && std::string_view("ABCD").find(prediction) != prediction.npos) {
    return std::nullopt;
  }
  const size_t at = prediction.find_first_of("ABCD");
  return at == prediction.npos ? std::nullopt : letter_index(prediction[at], 4);
}

Found by_bamboo(std::string_view prediction) {
  const std::string_view text = python_strip(prediction);
  return text.empty() ? std::nullopt : letter_index(static_cast<char>(text[0] & ~0x20), 4);
}

std::string_view trim_ascii(std::string_view text, std::string_view characters) {
  const size_t begin = std::min(text.find_first_not_of(characters), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(characters) + 1);
}

constexpr std::string_view kAround = "()[]{}<>*_`'\".,:;!?#$\\";

// The letter a word consists of once punctuation around it is gone.
Found lone_letter(std::string_view word, size_t letters) {
  const std::string_view core = trim_ascii(word, kAround);
  if (core.size() != 1) {
    return std::nullopt;
  }
  const bool is_lower = core[0] >= 'a' && core[0] <= 'z';
  // A bare lower-case letter is more likely a word ("a house") than a choice.
  if (is_lower && core.size() == word.size()) {
    return std::nullopt;
  }
  return letter_index(is_lower ? static_cast<char>(core[0] - 32) : core[0], letters);
}

Found by_letter(std::string_view prediction, size_t letters) {
  const auto words = python_split(prediction);
  Found first;
  bool follows_cue = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string word = python_lower(trim_ascii(words[i], kAround));
    const Found found = lone_letter(words[i], letters);
    // "A" before another word is an article, except at the start of an "A. text" or after a cue.
    const bool is_article = words[i] == "A" && i + 1 < words.size() && !follows_cue;
    if (found && follows_cue) {
      return found;
    }
    if (found && !first && !is_article) {
      first = found;
    }
    const bool is_link = word == "is" || word == "letter" || word.empty();
    follows_cue =
        word == "answer" || word == "option" || word == "choice" || (follows_cue && is_link);
  }
  return first;
}

Found by_text(std::string_view prediction, std::span<const std::string> options) {
  Found only;
  for (size_t i = 0; i < options.size(); ++i) {
    if (contains_normalized(prediction, options.subspan(i, 1)) == 1) {
      if (only) {
        return std::nullopt;
      }
      only = i;
    }
  }
  return only;
}

}  // namespace

std::string_view to_string(ChoiceRule rule) noexcept {
  return kNames[static_cast<size_t>(rule)].second;
}

ChoiceRule choice_rule(std::string_view name) {
  for (const auto& [rule, known] : kNames) {
    if (known == name) {
      return rule;
    }
  }
  OB_THROW(InvalidArgument, "choice rule '{}': first_letter, leval, bamboo or lenient wanted",
           name);
}

std::optional<size_t> extract_choice(ChoiceRule rule, std::string_view prediction,
                                     std::span<const std::string> options) {
  OB_REQUIRE(options.size() <= 26, InvalidArgument,
             "multiple choice: at most 26 options wanted, {} came", options.size());
  switch (rule) {
    case ChoiceRule::first_letter:
      return prediction.empty() ? std::nullopt : letter_index(prediction[0], 26);
    case ChoiceRule::leval:
      return by_leval(prediction);
    case ChoiceRule::bamboo:
      return by_bamboo(prediction);
    case ChoiceRule::lenient:
      break;
  }
  const Found letter = by_letter(prediction, options.size());
  return letter ? letter : by_text(prediction, options);
}

double choice_score(ChoiceRule rule, std::string_view prediction,
                    std::span<const std::string> options, size_t label) {
  OB_REQUIRE(label < options.size(), InvalidArgument,
             "multiple choice: label {} is out of range, {} options came", label, options.size());
  return extract_choice(rule, prediction, options) == label ? 1 : 0;
}

double altqa_score(std::string_view prediction, std::string_view reference) {
  const auto plain = [](std::string_view text) {
    return python_lower(trim_ascii(python_strip(text), "."));
  };
  return plain(prediction) == plain(reference) ? 1 : 0;
}

}  // namespace offbook::metrics
