// The twelve scorers of ∞Bench (arXiv 2402.13718), strict and lenient, never mixed.
//
// Strict is what its repository computes (src/compute_scores.py at 88b3daa), quirks included: they
// are listed at infinitebench_strict and each is a test. Lenient gives a right answer its point
// also where the strict parser misses it; its numbers are ours and no paper's.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace offbook::metrics {

enum class InfiniteBenchTask {
  passkey,
  number_string,
  kv_retrieval,
  longbook_sum_eng,
  longbook_choice_eng,
  longbook_qa_eng,
  longbook_qa_chn,
  longdialogue_qa_eng,
  code_debug,
  code_run,
  math_calc,
  math_find,
};
inline constexpr int kInfiniteBenchTasks = 12;

// The task's key in the data set's file names.
std::string_view to_string(InfiniteBenchTask task) noexcept;
// InvalidArgument lists the names.
InfiniteBenchTask infinitebench_task(std::string_view name);

// Labels keep the types of the data file, because the reference compares them as Python does: the
// text "4" is not the number 4, and a whole number parses otherwise than a fraction.
using InfiniteBenchValue = std::variant<std::string, int64_t, double>;
struct InfiniteBenchLabel {
  std::vector<InfiniteBenchValue> values;  // one, where the file has no list
  bool is_list = false;
};
// From a row's "answer", "ground_truth" or "label"; a list inside a list (Math.Calc) is opened.
// InvalidArgument for an empty list, a null, a boolean or an object.
InfiniteBenchLabel infinitebench_label(const nlohmann::json& json);

struct InfiniteBenchOptions {
  // GPT-4's prompt has the model repeat the first operand of Math.Calc, which is then dropped. The
  // reference does this for the model name "gpt4" only, so every other model scores about 0.
  bool drops_first_operand = false;
};

// In [0, 1]. Quirks kept: En.MC reads any first capital A–D as the answer ("Based on…" is B) and a
// word like "AB" as an option; Code.Debug wants "B." or "B:", a bare letter is wrong; both skip one
// character after "answer is"; En.Dia knows the first name only and single words; Code.Run wants
// the last word to be a whole number; Math.Find ignores a sign, and a fraction against a whole
// number, where the reference stops with an exception, is wrong. InvalidArgument for a label the
// task cannot have (a number for a book question, an empty list).
double infinitebench_strict(InfiniteBenchTask task, std::string_view prediction,
                            const InfiniteBenchLabel& label,
                            const InfiniteBenchOptions& options = {});

// In [0, 1], never below strict. PassKey, Number: any run of digits is the key. KV: the value
// stands anywhere. Code.Run, Math.Find: the last or the first signed number is equal as a number.
// Math.Calc: with or without the first operand, whichever fits longer. En.MC, Code.Debug: the
// lenient rule of choice.h over four letters, or the option's text. En.Dia, En.QA: 1 where a label
// stands in the answer as whole words, case and punctuation apart; Zh.QA: the same by characters.
// En.Sum: as strict.
double infinitebench_lenient(InfiniteBenchTask task, std::string_view prediction,
                             const InfiniteBenchLabel& label,
                             const InfiniteBenchOptions& options = {});

// Zh.QA's F1: lower case, ASCII and Chinese punctuation and white space dropped, bags of
// characters.
double chinese_character_f1(std::string_view prediction, std::string_view reference);

}  // namespace offbook::metrics
