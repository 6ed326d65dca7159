#include "src/metrics/infinitebench.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/metrics/infinitebench_text.h"
#include "src/metrics/python_text.h"
#include "src/metrics/rouge.h"
#include "src/metrics/text_scores.h"

namespace offbook::metrics {
namespace {

using internal::python_int;
using internal::text_labels;
using Task = InfiniteBenchTask;
using Label = InfiniteBenchLabel;

constexpr std::array<std::string_view, kInfiniteBenchTasks> kTaskNames = {
    "passkey",          "number_string",       "kv_retrieval",
    "longbook_sum_eng", "longbook_choice_eng", "longbook_qa_eng",
    "longbook_qa_chn",  "longdialogue_qa_eng", "code_debug",
    "code_run",         "math_calc",           "math_find",
};

constexpr std::u32string_view kChinesePunctuation =
    U"！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔"
    U"〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—"
    U"‘’‛“”„‟…‧﹏";

InfiniteBenchValue value_of(const nlohmann::json& json) {
  if (json.is_string()) {
    return json.get<std::string>();
  }
  if (json.is_number_integer()) {
    return json.get<int64_t>();
  }
  OB_REQUIRE(json.is_number_float(), InvalidArgument,
             "∞Bench label: a text, a number or a list of these wanted, a JSON {} came",
             json.type_name());
  return json.get<double>();
}

// The rest after the first of `prefixes` (in their order) that stands in the text, one character
// further on; "" where nothing follows, nothing where no prefix is there.
std::optional<std::string_view> after_prefix(std::string_view text,
                                             std::initializer_list<std::string_view> prefixes) {
  for (const std::string_view prefix : prefixes) {
    const size_t at = text.find(prefix);
    if (at == text.npos) {
      continue;
    }
    std::string_view rest = text.substr(at + prefix.size());
    size_t skipped = rest.empty() ? 0 : 1;
    while (skipped < rest.size() && (rest[skipped] & 0xC0) == 0x80) {
      ++skipped;
    }
    return rest.substr(skipped);
  }
  return std::nullopt;
}

std::string squeeze_spaces(std::string text) {
  text.erase(
      std::unique(text.begin(), text.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
      text.end());
  return text;
}

bool starts_with_any(std::string_view text, std::span<const std::string> beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [&](const std::string& beginning) { return text.starts_with(beginning); });
}

bool contains(std::span<const std::string> list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

bool first_digits_match(std::string_view prediction, const Label& label) {
  const auto* wanted = std::get_if<std::string>(&label.values[0]);
  const auto runs = internal::digit_runs(prediction);
  return wanted != nullptr && (runs.empty() ? std::string_view() : runs[0]) == *wanted;
}

bool kv_retrieval(std::string_view prediction, const Label& label) {
  const auto* wanted = std::get_if<std::string>(&label.values[0]);
  if (wanted == nullptr || label.is_list) {
    return false;
  }
  const std::string text = spaces_for("\n:\"'.,?!{}", prediction);
  const auto words = python_split(text);
  return std::find(words.begin(), words.end(), *wanted) != words.end();
}

bool longdialogue(std::string_view prediction, const std::vector<std::string>& labels) {
  const std::string text = spaces_for("\n:\"'.,?!{}", prediction);
  const auto words = python_split(text);
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return python_upper(word) == labels[0]; });
}

bool longbook_choice(std::string_view prediction, const std::vector<std::string>& labels) {
  prediction = python_strip(prediction);
  if (prediction.empty()) {
    return false;
  }
  if (prediction[0] >= 'A' && prediction[0] <= 'D') {
    return contains(labels, prediction.substr(0, 1));
  }
  if (contains(labels, prediction)) {
    return true;
  }
  const std::string text = squeeze_spaces(spaces_for("\n\"'.,?!{}", prediction));
  if (const auto rest = after_prefix(text, {"answer is:", "answer:", "answer is", "option is"})) {
    return starts_with_any(*rest, labels);
  }
  for (const std::string_view word : python_split(text)) {
    if (std::string_view("ABCD").find(word) != std::string_view::npos) {
      return contains(labels, word);
    }
  }
  return false;
}

bool code_debug(std::string_view prediction, const std::vector<std::string>& labels) {
  OB_REQUIRE(labels.size() >= 2, InvalidArgument,
             "∞Bench code_debug: a label of function name and letter wanted, {} values came",
             labels.size());
  prediction = python_strip(prediction);
  if (prediction.starts_with(labels[1] + ".") || prediction.starts_with(labels[1] + ":")) {
    return true;
  }
  std::string text = spaces_for("\n`'\"-*", prediction);
  for (const std::string_view word : {"Option", "option"}) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      text.replace(at, word.size(), 1, ' ');
    }
  }
  text = squeeze_spaces(std::move(text));
  const auto rest = after_prefix(text, {"answer is:", "is:", "answer:", "correct option is:"});
  return rest && (rest->starts_with(labels[1]) || rest->starts_with(labels[0]));
}

bool code_run(std::string_view prediction, const Label& label) {
  const std::string text = spaces_for("\n.`'\":", prediction);
  const auto words = python_split(text);
  if (words.empty()) {
    return false;
  }
  const auto number = python_int(words.back());
  if (const auto* wanted = std::get_if<double>(&label.values[0])) {
    return number && static_cast<double>(*number) == *wanted;
  }
  const auto* wanted = std::get_if<int64_t>(&label.values[0]);
  return wanted != nullptr && number == *wanted;
}

// \d+\.\d+|\d+ with the digits of any script, as ASCII; "" where there is none.
std::string first_number(std::string_view prediction) {
  const std::u32string text = code_points(prediction);
  std::string out;
  bool has_point = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const int digit = python_digit(text[i]);
    if (digit >= 0) {
      out.push_back(static_cast<char>('0' + digit));
    } else if (!out.empty() && text[i] == U'.' && !has_point && i + 1 < text.size() &&
               python_digit(text[i + 1]) >= 0) {
      has_point = true;
      out.push_back('.');
    } else if (!out.empty()) {
      break;
    }
  }
  return out;
}

bool math_find(std::string_view prediction, const Label& label) {
  const std::string number = first_number(prediction);
  if (number.empty()) {
    return false;
  }
  if (const auto* wanted = std::get_if<int64_t>(&label.values[0])) {
    return python_int(number) == *wanted;
  }
  const auto* wanted = std::get_if<double>(&label.values[0]);
  OB_REQUIRE(wanted != nullptr, InvalidArgument,
             "∞Bench math_find: a number as label wanted, a text came");
  double value = 0;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), value);
  return read.ec == std::errc() && value == *wanted;
}

double math_calc(std::string_view prediction, const Label& label,
                 const InfiniteBenchOptions& options) {
  const auto runs = internal::digit_runs(prediction);
  const size_t first = options.drops_first_operand && !runs.empty() ? 1 : 0;
  return internal::right_prefix(std::span(runs).subspan(first), label);
}

double best_chinese_f1(std::string_view prediction, const std::vector<std::string>& labels) {
  double best = 0;
  for (const std::string& label : labels) {
    best = std::max(best, chinese_character_f1(prediction, label));
  }
  return best;
}

}  // namespace

namespace internal {

std::vector<std::string> text_labels(InfiniteBenchTask task, const InfiniteBenchLabel& label) {
  std::vector<std::string> out;
  for (const InfiniteBenchValue& value : label.values) {
    const auto* text = std::get_if<std::string>(&value);
    OB_REQUIRE(text != nullptr, InvalidArgument, "∞Bench {}: texts as label wanted, a number came",
               to_string(task));
    out.push_back(*text);
  }
  return out;
}

std::optional<int64_t> python_int(std::string_view text) {
  const std::u32string codes = code_points(text);
  std::string ascii;
  for (size_t i = 0; i < codes.size(); ++i) {
    const int digit = python_digit(codes[i]);
    const bool is_between = i > 0 && i + 1 < codes.size() && python_digit(codes[i - 1]) >= 0 &&
                            python_digit(codes[i + 1]) >= 0;
    if (digit >= 0) {
      ascii.push_back(static_cast<char>('0' + digit));
    } else if (i == 0 && codes.size() > 1 && (codes[0] == U'-' || codes[0] == U'+')) {
      ascii.append(codes[0] == U'-' ? 1 : 0, '-');
    } else if (codes[i] != U'_' || !is_between) {
      return std::nullopt;
    }
  }
  int64_t value = 0;
  const char* end = ascii.data() + ascii.size();
  const auto read = std::from_chars(ascii.data(), end, value);
  return read.ec == std::errc() && read.ptr == end ? std::optional(value) : std::nullopt;
}

std::vector<std::string_view> digit_runs(std::string_view text) {
  std::vector<std::string_view> out;
  constexpr std::string_view kDigits = "0123456789";
  for (size_t at = text.find_first_of(kDigits); at < text.size();) {
    const size_t end = std::min(text.find_first_not_of(kDigits, at), text.size());
    out.push_back(text.substr(at, end - at));
    at = text.find_first_of(kDigits, end);
  }
  return out;
}

std::u32string chinese_characters(std::string_view text) {
  std::u32string out;
  for (const char32_t code : code_points(python_lower(text))) {
    const bool is_punctuation = code < 0x80
                                    ? is_ascii_punctuation(static_cast<char>(code))
                                    : kChinesePunctuation.find(code) != std::u32string_view::npos;
    if (!is_punctuation && !is_python_space(code)) {
      out.push_back(code);
    }
  }
  return out;
}

double right_prefix(std::span<const std::string_view> runs, const InfiniteBenchLabel& label) {
  size_t right = 0;
  for (; right < std::min(runs.size(), label.values.size()); ++right) {
    const auto* wanted = std::get_if<int64_t>(&label.values[right]);
    if (wanted == nullptr || python_int(runs[right]) != *wanted) {
      break;
    }
  }
  return static_cast<double>(right) / static_cast<double>(label.values.size());
}

}  // namespace internal

std::string_view to_string(InfiniteBenchTask task) noexcept {
  return kTaskNames[static_cast<size_t>(task)];
}

InfiniteBenchTask infinitebench_task(std::string_view name) {
  const auto found = std::find(kTaskNames.begin(), kTaskNames.end(), name);
  OB_REQUIRE(found != kTaskNames.end(), InvalidArgument, "∞Bench task '{}': one of {} wanted", name,
             fmt::join(kTaskNames, ", "));
  return static_cast<InfiniteBenchTask>(found - kTaskNames.begin());
}

InfiniteBenchLabel infinitebench_label(const nlohmann::json& json) {
  const bool is_nested = json.is_array() && !json.empty() && json[0].is_array();
  const nlohmann::json& list = is_nested ? json[0] : json;
  InfiniteBenchLabel label;
  label.is_list = json.is_array();
  if (!list.is_array()) {
    label.values.push_back(value_of(list));
    return label;
  }
  OB_REQUIRE(!list.empty(), InvalidArgument, "∞Bench label: at least one value wanted, [] came");
  for (const nlohmann::json& value : list) {
    label.values.push_back(value_of(value));
  }
  return label;
}

double chinese_character_f1(std::string_view prediction, std::string_view reference) {
  const std::u32string predicted = internal::chinese_characters(prediction);
  const std::u32string wanted = internal::chinese_characters(reference);
  std::map<char32_t, int> counts;
  for (const char32_t code : wanted) {
    ++counts[code];
  }
  double common = 0;
  for (const char32_t code : predicted) {
    const auto found = counts.find(code);
    common += found != counts.end() && found->second-- > 0;
  }
  if (common == 0) {
    return 0;
  }
  const double precision = common / static_cast<double>(predicted.size());
  const double recall = common / static_cast<double>(wanted.size());
  return 2 * precision * recall / (precision + recall);
}

double infinitebench_strict(InfiniteBenchTask task, std::string_view prediction,
                            const InfiniteBenchLabel& label, const InfiniteBenchOptions& options) {
  OB_REQUIRE(!label.values.empty(), InvalidArgument, "∞Bench {}: a label wanted, none came",
             to_string(task));
  switch (task) {
    case Task::passkey:
    case Task::number_string:
      return first_digits_match(prediction, label);
    case Task::kv_retrieval:
      return kv_retrieval(prediction, label);
    case Task::longbook_sum_eng:
      return rouge(prediction, text_labels(task, label)).rouge_lsum.f1;
    case Task::longbook_choice_eng:
      return longbook_choice(prediction, text_labels(task, label));
    case Task::longbook_qa_eng:
      return token_f1(prediction, text_labels(task, label));
    case Task::longbook_qa_chn:
      return best_chinese_f1(prediction, text_labels(task, label));
    case Task::longdialogue_qa_eng:
      return longdialogue(prediction, text_labels(task, label));
    case Task::code_debug:
      return code_debug(prediction, text_labels(task, label));
    case Task::code_run:
      return code_run(prediction, label);
    case Task::math_calc:
      return math_calc(prediction, label, options);
    case Task::math_find:
      return math_find(prediction, label);
  }
  OB_CHECK(false);
  return 0;
}

}  // namespace offbook::metrics
