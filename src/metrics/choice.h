// Multiple choice: which option a free-form answer names, by the rule of each paper's own code.
// ∞Bench's rule depends on the right answer and stands in infinitebench.h.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace offbook::metrics {

enum class ChoiceRule {
  // LLoCO on QuALITY: the first character, as it is; no white space is skipped.
  first_letter,
  // L-Eval: an answer that stands inside "ABCD" as a whole is taken whole (so "AB" is wrong), else
  // the first capital A–D anywhere, also inside a word.
  leval,
  // BAMBOO's meetingqa and paperqa: the first character after white space, of either case. The
  // reference code stops at an empty answer; here it names no option.
  bamboo,
  // Ours: a letter that stands alone ("B", "(b)", "**C.**", "answer is D"), after "answer" or
  // "option" first, "A" as an article left out; else the one option whose text stands in the
  // answer.
  lenient
};

std::string_view to_string(ChoiceRule rule) noexcept;
// The rule of that name; InvalidArgument lists the names.
ChoiceRule choice_rule(std::string_view name);

// Index from 0 of the named option, or nothing. `options` are texts without letters; the papers'
// rules know four letters and look only at these. InvalidArgument above 26 options.
std::optional<size_t> extract_choice(ChoiceRule rule, std::string_view prediction,
                                     std::span<const std::string> options);

// 1 where the extracted option is `label`. InvalidArgument where label is out of range.
double choice_score(ChoiceRule rule, std::string_view prediction,
                    std::span<const std::string> options, size_t label);

// BAMBOO's altqa: equal after white space, full stops at the ends and case are dropped.
double altqa_score(std::string_view prediction, std::string_view reference);

}  // namespace offbook::metrics
