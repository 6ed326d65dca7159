// The invariants of ∞Bench's generated tasks, and the official scorers on their labels.
#include "src/evaluate/generators/infinitebench.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace offbook::evaluate {
namespace {

using metrics::InfiniteBenchTask;

constexpr InfiniteBenchTask kTasks[] = {
    InfiniteBenchTask::passkey,  InfiniteBenchTask::number_string, InfiniteBenchTask::kv_retrieval,
    InfiniteBenchTask::code_run, InfiniteBenchTask::math_calc,     InfiniteBenchTask::math_find};

int64_t words(std::string_view text) {
  return 1 + std::count(text.begin(), text.end(), ' ');
}

GeneratedCase make(InfiniteBenchTask task, int64_t units, int64_t index = 0, int64_t count = 59,
                   uint64_t seed = 1) {
  return make_infinitebench(
      {.task = task, .units = units, .index = index, .count = count, .seed = seed}, words);
}

TEST(InfiniteBench, TheSameSpecMakesTheSameCaseAndOthersDiffer) {
  for (const auto task : kTasks) {
    const GeneratedCase a = make(task, 100, 3);
    EXPECT_EQ(a.context, make(task, 100, 3).context);
    EXPECT_EQ(a.label, make(task, 100, 3).label);
    EXPECT_NE(a.context, make(task, 100, 4).context);
    EXPECT_NE(a.context, make(task, 100, 3, 59, 2).context);
  }
}

TEST(InfiniteBench, TheOfficialScorerAcceptsTheLabel) {
  for (const auto task : kTasks) {
    for (int64_t i = 0; i < 20; ++i) {
      const GeneratedCase c = make(task, 120, i);
      const auto label = metrics::infinitebench_label(c.label);
      EXPECT_EQ(metrics::infinitebench_strict(task, c.answers.front(), label), 1)
          << c.task << " " << c.label;
      EXPECT_LT(metrics::infinitebench_strict(task, "no idea", label), 1);
    }
  }
}

TEST(InfiniteBench, TheLineSweepsFiftyNinePlacesOfTheOfficialSize) {
  std::set<size_t> places;
  for (int64_t i = 0; i < 59; ++i) {
    const GeneratedCase c =
        make(InfiniteBenchTask::passkey, official_units(InfiniteBenchTask::passkey), i);
    const size_t at = c.context.find("The pass key is");
    ASSERT_EQ(at % 90, 0u);  // the noise line has 90 bytes
    EXPECT_EQ(at / 90, static_cast<size_t>(i) * 90);
    places.insert(at);
    EXPECT_EQ(c.answers.front().size(), 5u);
    EXPECT_NE(c.context.find(c.answers.front() + " is the pass key."), std::string::npos);
  }
  EXPECT_EQ(places.size(), 59u);
}

TEST(InfiniteBench, KeysMayBeginWithZero) {
  bool seen = false;
  for (int64_t i = 0; i < 59; ++i) {
    seen |= make(InfiniteBenchTask::passkey, 1, i).answers.front()[0] == '0';
  }
  EXPECT_TRUE(seen);
}

TEST(InfiniteBench, NumberStringsAreTenDigitsOfWhichFiveRepeatTheirNeighbour) {
  for (int64_t i = 0; i < 59; ++i) {
    const std::string key = make(InfiniteBenchTask::number_string, 3, i).answers.front();
    ASSERT_EQ(key.size(), 10u);
    int repeats = 0;
    for (size_t k = 1; k < key.size(); ++k) {
      repeats += key[k] == key[k - 1] ? 1 : 0;
    }
    EXPECT_GE(repeats, 5);
  }
}

TEST(InfiniteBench, TheAskedPairSweepsTheList) {
  for (const int64_t i : {int64_t{0}, int64_t{7}, int64_t{499}}) {
    const GeneratedCase c = make(InfiniteBenchTask::kv_retrieval, 2500, i, 500);
    const auto json = nlohmann::ordered_json::parse(c.context.substr(c.context.find('{')));
    ASSERT_EQ(json.size(), 2500u);
    auto pair = json.begin();
    std::advance(pair, 5 * i);
    EXPECT_NE(c.question.find(pair.key()), std::string::npos);
    EXPECT_EQ(pair.value(), c.answers.front());
  }
}

TEST(InfiniteBench, FindLabelsAreRightAndMediansOfEvenListsAreFractions) {
  for (int64_t i = 0; i < 70; ++i) {
    const GeneratedCase c = make(InfiniteBenchTask::math_find, 100, i, 350);
    auto list = nlohmann::json::parse(c.context).get<std::vector<int64_t>>();
    ASSERT_EQ(list.size(), 100u);
    std::sort(list.begin(), list.end());
    EXPECT_GE(list.front(), 0);
    EXPECT_LE(list.back(), 99);
    EXPECT_EQ(c.label.is_number_float(), i % 7 == 6);
    if (i % 7 == 0) {
      EXPECT_EQ(c.label, list.back());
    }
    if (i % 7 == 4) {
      EXPECT_EQ(c.label, *std::upper_bound(list.begin(), list.end(), list.front()));
    }
    if (i % 7 == 6) {
      EXPECT_EQ(c.label.get<double>(), static_cast<double>(list[49] + list[50]) / 2);
    }
  }
}

TEST(InfiniteBench, RunningSumsStayInRange) {
  const GeneratedCase c = make(InfiniteBenchTask::math_calc, 5000);
  const auto values = c.label.get<std::vector<int64_t>>();
  EXPECT_EQ(values.size(), 4999u);
  int64_t at = 0;
  int64_t sum = std::stoll(c.context);
  size_t place = c.context.find(' ');
  for (const int64_t value : values) {
    const int64_t operand = std::stoll(c.context.substr(place + 3));
    sum += c.context[place + 1] == '+' ? operand : -operand;
    place = c.context.find(' ', place + 3);
    ASSERT_EQ(sum, value) << at++;
    ASSERT_TRUE(value >= 0 && value <= 99);
  }
}

TEST(InfiniteBench, TheCodeRunsToItsLabel) {
  for (int64_t i = 0; i < 25; ++i) {
    const GeneratedCase c = make(InfiniteBenchTask::code_run, 200, i, 400);
    const size_t open = c.question.find("func_") + 5;
    const size_t paren = c.question.find('(', open);
    EXPECT_EQ(run_functions(c.context, std::stoll(c.question.substr(open)),
                            std::stoll(c.question.substr(paren + 1))),
              c.label);
  }
  EXPECT_EQ(
      run_functions("def func_1(x):\n    return func_2(x) - 3\n\ndef func_2(x):\n    return x\n", 1,
                    10),
      7);
  EXPECT_THROW(run_functions("def func_1(x):\n    return func_1(x)\n", 1, 0), Error);
  EXPECT_THROW(run_functions("def func_1(x):\n    return func_2(x)\n", 1, 0), Error);
  EXPECT_THROW(run_functions("def func_1(x):\n    return y\n", 1, 0), Error);
}

TEST(InfiniteBench, FittingUnitsFit) {
  for (const auto task : kTasks) {
    const int64_t units = fitting_units(task, 2000, words);
    for (int64_t i = 0; i < 12; ++i) {
      const GeneratedCase c = make(task, units, i * 5, 60, 9);
      EXPECT_LE(c.length, 2000) << c.task;
      EXPECT_GE(c.length, 1600) << c.task;
    }
  }
  EXPECT_THROW(fitting_units(InfiniteBenchTask::kv_retrieval, 2, words), Error);
  EXPECT_THROW(fitting_units(InfiniteBenchTask::code_debug, 2000, words), Error);
  EXPECT_THROW(make(InfiniteBenchTask::passkey, 10, 59), Error);
}

}  // namespace
}  // namespace offbook::evaluate
