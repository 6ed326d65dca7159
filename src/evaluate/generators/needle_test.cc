#include "src/evaluate/generators/needle.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/evaluate/generators/words.h"

namespace offbook::evaluate {
namespace {

int64_t words(std::string_view text) {
  return 1 + std::count(text.begin(), text.end(), ' ');
}

std::string book() {
  std::string out;
  for (int i = 0; i < 300; ++i) {
    out += "line " + std::to_string(i) + " of the bøøk goes on and on\n";
  }
  return out;
}

TEST(Needle, FillsTheLengthAndStandsOnALineOfItsOwn) {
  for (const double depth : even_grid(0, 1, 10)) {
    for (const auto kind : {NeedleKind::fixed, NeedleKind::random}) {
      const GeneratedCase c =
          make_needle({.kind = kind, .tokens = 1000, .depth = depth, .index = 4}, book(), words);
      EXPECT_LE(c.length, 1000 - 180);
      EXPECT_GE(c.length, 1000 - 190);
      EXPECT_NE(c.context.find(c.answers.front()), std::string::npos);
      const size_t at =
          c.context.find(kind == NeedleKind::fixed ? "The designer" : "The magic city");
      EXPECT_TRUE(at == 0 || c.context[at - 1] == '\n');
      EXPECT_LE(c.depth, depth);
      EXPECT_GE(c.depth, depth - 0.03);
    }
  }
}

TEST(Needle, CitiesDifferAndTrainingSharesNoneWithEvaluation) {
  std::set<std::string> seen;
  for (int64_t i = 0; i < 30; ++i) {
    const GeneratedCase c = make_needle({.tokens = 400, .depth = 0.5, .index = i}, book(), words);
    seen.insert(c.answers.front());
    EXPECT_EQ(c.context,
              make_needle({.tokens = 400, .depth = 0.5, .index = i}, book(), words).context);
  }
  EXPECT_GT(seen.size(), 8u);
  for (const auto city : training_cities()) {
    EXPECT_EQ(std::count(evaluation_cities().begin(), evaluation_cities().end(), city), 0);
  }
}

TEST(Needle, ShortHaystacksAreReadAgain) {
  const GeneratedCase c = make_needle({.tokens = 800, .depth = 1}, "a short text", words);
  EXPECT_GE(c.length, 600);
  EXPECT_THROW(make_needle({.tokens = 800}, "", words), Error);
  EXPECT_THROW(make_needle({.tokens = 100}, "text", words), Error);
  EXPECT_THROW(make_needle({.tokens = 800, .depth = 2}, "text", words), Error);
}

TEST(Grid, HasBothEnds) {
  EXPECT_EQ(even_grid(1000, 32000, 2), (std::vector<double>{1000, 32000}));
  EXPECT_EQ(even_grid(0, 1, 5)[1], 0.25);
}

}  // namespace
}  // namespace offbook::evaluate
