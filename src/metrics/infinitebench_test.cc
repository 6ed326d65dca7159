#include "src/metrics/infinitebench.h"

#include <nlohmann/json.hpp>

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

using Task = InfiniteBenchTask;

struct Case {
  Task task;
  const char* prediction;
  const char* label;  // JSON
  double strict;
  double lenient;
};

TEST(InfiniteBench, QuirksOfTheReferenceAreKeptApartFromLenientScores) {
  const Case cases[] = {
      {Task::passkey, "The key is 01234.", R"("01234")", 1, 1},
      {Task::passkey, "1234", R"("01234")", 0, 0},
      {Task::number_string, "Of 2 keys: 77", R"(["77"])", 0, 1},
      {Task::kv_retrieval, "value: (ab-1)", R"("ab-1")", 0, 1},
      {Task::longbook_choice_eng, "Based on it, (C)", R"(["snow", "B"])", 1, 1},
      {Task::longbook_choice_eng, "i say AB", R"(["snow", "A"])", 0, 0},
      {Task::longbook_choice_eng, "it is snow", R"(["snow", "B"])", 0, 1},
      {Task::longdialogue_qa_eng, "It is Ace Rothstein", R"(["ACE ROTHSTEIN"])", 0, 1},
      {Task::code_debug, "B", R"(["f.g", "B"])", 0, 1},
      {Task::code_debug, "B. f.g", R"(["f.g", "B"])", 1, 1},
      {Task::code_run, "it is -3", "-3", 1, 1},
      {Task::code_run, "f(x) = -3)", "[-3]", 0, 1},
      {Task::code_run, "x-3", "-3", 0, 0},
      {Task::math_find, "50", "50.0", 1, 1},
      {Task::math_find, "50.0", "50", 0, 1},  // the reference stops with an exception
      {Task::math_calc, "9, 1, 2, 5", "[1, 2, 3]", 0, 2.0 / 3},
      {Task::math_calc, "1, 2, 5", "[[1, 2, 3]]", 2.0 / 3, 2.0 / 3},
      {Task::longbook_qa_eng, "It was the snow", R"(["snow"])", 0.5, 1},
      {Task::longbook_qa_chn, "是胡一刀。", R"(["胡一刀"])", 6.0 / 7, 1},
      {Task::longbook_sum_eng, "a b", R"(["a c"])", 0.5, 0.5},
  };
  for (const Case& one : cases) {
    const auto label = infinitebench_label(nlohmann::json::parse(one.label));
    const std::string what = std::string(to_string(one.task)) + ": " + one.prediction;
    EXPECT_DOUBLE_EQ(infinitebench_strict(one.task, one.prediction, label), one.strict) << what;
    EXPECT_DOUBLE_EQ(infinitebench_lenient(one.task, one.prediction, label), one.lenient) << what;
  }
}

TEST(InfiniteBench, OnlyGpt4DropsTheFirstOperand) {
  const auto label = infinitebench_label(nlohmann::json::parse("[1, 2]"));
  EXPECT_EQ(infinitebench_strict(Task::math_calc, "9 1 2", label), 0);
  EXPECT_EQ(infinitebench_strict(Task::math_calc, "9 1 2", label, {.drops_first_operand = true}),
            1);
}

TEST(InfiniteBench, BadLabelsAndTasksAreNamed) {
  EXPECT_THROW(infinitebench_label(nlohmann::json::parse("[]")), Error);
  EXPECT_THROW(infinitebench_label(nlohmann::json::parse("null")), Error);
  EXPECT_THROW(infinitebench_task("longbook"), Error);
  EXPECT_EQ(infinitebench_task("math_find"), Task::math_find);
  const auto number = infinitebench_label(nlohmann::json::parse("[3]"));
  EXPECT_THROW(infinitebench_strict(Task::longbook_qa_eng, "x", number), Error);
  EXPECT_THROW(infinitebench_strict(Task::passkey, "x", {}), Error);
  const auto text = infinitebench_label(nlohmann::json::parse(R"(["f"])"));
  EXPECT_THROW(infinitebench_strict(Task::code_debug, "x", text), Error);
}

}  // namespace
}  // namespace offbook::metrics
