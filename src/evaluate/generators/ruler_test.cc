#include "src/evaluate/generators/ruler.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace offbook::evaluate {
namespace {

int64_t words(std::string_view text) {
  return text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ' ');
}

struct Sources {
  Sources() {
    for (int i = 0; i < 400; ++i) {
      essay += fmt::format("This is sentence {} of an essay about nothing. ", i);
    }
    for (int i = 0; i < 60; ++i) {
      documents.push_back(fmt::format("Document body {} speaks of thing {} at some length.", i, i));
    }
    questions.push_back({"What is spoken of?", {"thing 7"}, {7}, {8, 9}});
    questions.push_back({"And?", {"thing 1", "thing 2"}, {1, 2}, {}});
  }
  RulerSources view() const { return {essay, documents, questions}; }
  std::string essay;
  std::vector<std::string> documents;
  std::vector<RulerQuestion> questions;
};

GeneratedCase make(RulerTask task, int64_t tokens = 1500, int64_t index = 0, uint64_t seed = 1) {
  static const Sources sources;
  return make_ruler({.task = task, .tokens = tokens, .index = index, .seed = seed}, sources.view(),
                    words);
}

class Ruler : public testing::TestWithParam<int> {
 protected:
  RulerTask task() const { return static_cast<RulerTask>(GetParam()); }
};

TEST_P(Ruler, FitsAndFillsAndHoldsItsAnswers) {
  for (const int64_t tokens : {700, 1500, 5000}) {
    for (int64_t index = 0; index < 3; ++index) {
      const GeneratedCase c = make(task(), tokens, index);
      EXPECT_EQ(c.task, to_string(task()));
      const int64_t room = tokens - ruler_answer_tokens(task());
      EXPECT_LE(c.length, room);
      const bool runs_out = task() == RulerTask::qa_1 || task() == RulerTask::qa_2;
      EXPECT_TRUE(runs_out || c.length > room - 130) << c.length << " of " << room;
      for (const std::string& answer : c.answers) {
        EXPECT_NE(c.context.find(answer), std::string::npos) << answer;
      }
      EXPECT_EQ(c.context, make(task(), tokens, index).context);
      EXPECT_NE(c.context, make(task(), tokens, index, 2).context);
    }
  }
  EXPECT_THROW(make(task(), 40), Error);
}

TEST_P(Ruler, NamesAreKnown) {
  EXPECT_EQ(ruler_task(to_string(task())), task());
}

INSTANTIATE_TEST_SUITE_P(Tasks, Ruler, testing::Range(0, kRulerTasks), [](const auto& info) {
  return std::string(to_string(static_cast<RulerTask>(info.param)));
});

TEST(RulerNeedles, CountsOfKeysAndValues) {
  const auto needles = [](const GeneratedCase& c) {
    size_t n = 0;
    for (size_t at = c.context.find("One of the special"); at != std::string::npos;
         at = c.context.find("One of the special", at + 1)) {
      ++n;
    }
    return n;
  };
  EXPECT_EQ(needles(make(RulerTask::niah_single_1)), 1u);
  EXPECT_EQ(needles(make(RulerTask::niah_multikey_1)), 4u);
  EXPECT_EQ(make(RulerTask::niah_multikey_1).answers.size(), 1u);
  EXPECT_EQ(needles(make(RulerTask::niah_multivalue)), 4u);
  EXPECT_EQ(make(RulerTask::niah_multivalue).answers.size(), 4u);
  EXPECT_EQ(make(RulerTask::niah_multiquery).answers.size(), 4u);
  EXPECT_GT(needles(make(RulerTask::niah_multikey_2)), 50u);
  EXPECT_EQ(make(RulerTask::niah_single_3).answers.front().size(), 36u);
  EXPECT_EQ(make(RulerTask::niah_single_2).answers.front().size(), 7u);
  EXPECT_EQ(make(RulerTask::niah_single_1).context.find("special magic number is"), 2u);
}

TEST(RulerTracking, TheChainLeadsToTheValue) {
  const GeneratedCase c = make(RulerTask::vt);
  ASSERT_EQ(c.answers.size(), 5u);
  size_t before = 0;
  for (size_t i = 0; i < 5; ++i) {
    const std::string line = i == 0 ? "VAR " + c.answers[0] + " = "
                                    : "VAR " + c.answers[i] + " = VAR " + c.answers[i - 1] + "\n";
    const size_t at = c.context.find(line);
    ASSERT_NE(at, std::string::npos);
    EXPECT_GE(at, before);
    before = at;
  }
  EXPECT_NE(c.example.find("Answer:"), std::string::npos);
}

TEST(RulerWords, TheAskedOnesAreTheMostFrequent) {
  for (const RulerTask task : {RulerTask::cwe, RulerTask::fwe}) {
    for (const int64_t tokens : {1500, 6000}) {
      const GeneratedCase c = make(task, tokens);
      std::map<std::string, int> counts;
      std::istringstream in(
          c.context.substr(c.context.find(task == RulerTask::cwe ? "\n" : "words. ") + 1));
      for (std::string word; in >> word;) {
        counts[word] += std::isdigit(static_cast<unsigned char>(word[0])) != 0 || word == "..." ||
                                word == "words."
                            ? 0
                            : 1;
      }
      int least = 1 << 30;
      for (const std::string& answer : c.answers) {
        least = std::min(least, counts.at(answer));
        counts.erase(answer);
      }
      for (const auto& [word, n] : counts) {
        EXPECT_LT(n, least) << word << " " << to_string(task);
      }
    }
  }
}

TEST(RulerQa, NearDocumentsComeFirst) {
  const GeneratedCase c = make(RulerTask::qa_1, 160);
  EXPECT_NE(c.context.find("Document body 7 "), std::string::npos);
  const bool has_near = c.context.find("Document body 8 ") != std::string::npos ||
                        c.context.find("Document body 9 ") != std::string::npos;
  EXPECT_TRUE(has_near);
  EXPECT_THROW(make_ruler({.task = RulerTask::qa_1}, {}, words), Error);
  EXPECT_THROW(make_ruler({.task = RulerTask::niah_single_2}, {}, words), Error);
  EXPECT_THROW(ruler_task("vtt"), Error);
}

}  // namespace
}  // namespace offbook::evaluate
