#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "src/base/error.h"
#include "src/metrics/choice.h"
#include "src/metrics/infinitebench.h"
#include "src/metrics/infinitebench_text.h"
#include "src/metrics/text_scores.h"

namespace offbook::metrics {
namespace {

using Task = InfiniteBenchTask;
using Label = InfiniteBenchLabel;

bool any_run_is_key(std::string_view prediction, const Label& label) {
  const auto* wanted = std::get_if<std::string>(&label.values[0]);
  const auto runs = internal::digit_runs(prediction);
  return wanted != nullptr && std::find(runs.begin(), runs.end(), *wanted) != runs.end();
}

// Every number of the text with its sign; a dash after a letter, digit or bracket is no sign.
std::vector<double> signed_numbers(std::string_view text) {
  std::vector<double> out;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (size_t at = 0; at < text.size(); ++at) {
    if (!is_digit(text[at])) {
      continue;
    }
    const bool is_negative = at > 0 && text[at - 1] == '-' &&
                             (at == 1 || std::string_view(" \n\t(=:,\"'`*").find(text[at - 2]) !=
                                             std::string_view::npos);
    size_t end = at;
    while (end < text.size() &&
           (is_digit(text[end]) ||
            (text[end] == '.' && end + 1 < text.size() && is_digit(text[end + 1])))) {
      ++end;
    }
    double value = 0;
    std::from_chars(text.data() + at, text.data() + end, value);
    out.push_back(is_negative ? -value : value);
    at = end;
  }
  return out;
}

std::optional<double> number_of(const InfiniteBenchValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    return static_cast<double>(*whole);
  }
  const auto* fraction = std::get_if<double>(&value);
  return fraction != nullptr ? std::optional(*fraction) : std::nullopt;
}

double longest_prefix(std::string_view prediction, const Label& label) {
  const auto runs = internal::digit_runs(prediction);
  const double whole = internal::right_prefix(runs, label);
  return runs.empty() ? whole
                      : std::max(whole, internal::right_prefix(std::span(runs).subspan(1), label));
}

// `label` = text of the right option, then its letter.
bool names_option(Task task, std::string_view prediction, const Label& label) {
  const auto texts = internal::text_labels(task, label);
  constexpr size_t kLetters = 4;
  const std::array<std::string, kLetters> no_texts;
  if (const auto found = extract_choice(ChoiceRule::lenient, prediction, no_texts)) {
    return std::find(texts.begin(), texts.end(), std::string(1, static_cast<char>('A' + *found))) !=
           texts.end();
  }
  return contains_normalized(prediction, std::span(texts).first(1)) == 1;
}

bool holds_chinese(std::string_view prediction, const std::vector<std::string>& labels) {
  const std::u32string text = internal::chinese_characters(prediction);
  return std::any_of(labels.begin(), labels.end(), [&](const std::string& label) {
    const std::u32string wanted = internal::chinese_characters(label);
    return !wanted.empty() && text.find(wanted) != std::u32string::npos;
  });
}

double lenient_only(Task task, std::string_view prediction, const Label& label) {
  switch (task) {
    case Task::passkey:
    case Task::number_string:
      return any_run_is_key(prediction, label);
    case Task::kv_retrieval:
      return contains_exactly(prediction, internal::text_labels(task, label));
    case Task::longbook_choice_eng:
    case Task::code_debug:
      return names_option(task, prediction, label);
    case Task::longbook_qa_eng:
    case Task::longdialogue_qa_eng:
      return contains_normalized(prediction, internal::text_labels(task, label));
    case Task::longbook_qa_chn:
      return holds_chinese(prediction, internal::text_labels(task, label));
    case Task::code_run:
    case Task::math_find: {
      const auto numbers = signed_numbers(prediction);
      return !numbers.empty() && number_of(label.values[0]) ==
                                     (task == Task::code_run ? numbers.back() : numbers.front());
    }
    case Task::math_calc:
      return longest_prefix(prediction, label);
    case Task::longbook_sum_eng:
      return 0;  // as strict
  }
  OB_CHECK(false);
  return 0;
}

}  // namespace

double infinitebench_lenient(InfiniteBenchTask task, std::string_view prediction,
                             const InfiniteBenchLabel& label, const InfiniteBenchOptions& options) {
  const double strict = infinitebench_strict(task, prediction, label, options);
  return std::max(strict, lenient_only(task, prediction, label));
}

}  // namespace offbook::metrics
