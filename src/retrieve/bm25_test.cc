#include "src/retrieve/bm25.h"

#include <cmath>

#include <gtest/gtest.h>

namespace offbook::retrieve {
namespace {

using Words = std::vector<std::vector<std::string>>;

TEST(PassageBm25, IsTheFormula) {
  const Words passages{{"a", "b", "a"}, {"b"}, {"c", "c"}};
  const auto scores = PassageBm25(passages).scores(std::vector<std::string>{"a"});
  const double idf = std::log(1 + (3 - 1 + 0.5) / 1.5);
  EXPECT_NEAR(scores[0], idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)), 1e-12);
  EXPECT_EQ(scores[1], 0);
  const auto twice = PassageBm25(passages).scores(std::vector<std::string>{"a", "a", "z"});
  EXPECT_NEAR(twice[0], 2 * scores[0], 1e-12);
}

TEST(PassageBm25, NothingToRank) {
  EXPECT_TRUE(PassageBm25({}).scores(std::vector<std::string>{"a"}).empty());
  const Words empty{{}, {}};
  EXPECT_EQ(PassageBm25(empty).scores(std::vector<std::string>{"a"}), (std::vector<double>{0, 0}));
  EXPECT_EQ(best_first(std::vector<double>{1, 3, 1, 3}), (std::vector<size_t>{1, 3, 0, 2}));
}

}  // namespace
}  // namespace offbook::retrieve
