#include "src/model/prompt_lookup.h"

namespace offbook::model {
namespace {

std::vector<int32_t> drafted(PromptLookup& lookup, int room) {
  const auto draft = lookup.draft(room);
  return {draft.begin(), draft.end()};
}

TEST(PromptLookup, ContinuesTheLatestPlaceThatEndsAlike) {
  PromptLookup lookup(std::vector<int32_t>{1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 8});
  EXPECT_TRUE(drafted(lookup, 7).empty());  // 6 7 8 stands nowhere else
  for (const int32_t token : {1, 2, 3}) {
    lookup.push(token);
  }
  EXPECT_EQ(drafted(lookup, 7), (std::vector<int32_t>{5, 6, 7, 8, 1, 2}));
  EXPECT_EQ(drafted(lookup, 2), (std::vector<int32_t>{5, 6}));
  EXPECT_TRUE(drafted(lookup, 0).empty());
}

TEST(PromptLookup, GuessesMoreAfterGuessingRight) {
  std::vector<int32_t> source;
  for (int32_t i = 0; i < 40; ++i) {
    source.push_back(i);
  }
  PromptLookup lookup(source);
  for (const int32_t token : {0, 1, 2}) {
    lookup.push(token);
  }
  EXPECT_EQ(drafted(lookup, 7).size(), 6u);
  lookup.report(6);
  for (const int32_t token : {3, 4, 5, 6, 7, 8, 9}) {
    lookup.push(token);
  }
  EXPECT_EQ(drafted(lookup, 7), (std::vector<int32_t>{10, 11, 12, 13, 14, 15, 16}));
}

TEST(PromptLookup, TheLongestMatchCountsAndAShortOneGivesFewGuesses) {
  PromptLookup lookup(std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 20, 21, 22, 23, 24});
  lookup.push(2);
  EXPECT_TRUE(drafted(lookup, 7).empty());  // one token alone
  lookup.push(3);
  EXPECT_EQ(drafted(lookup, 7), (std::vector<int32_t>{20, 21, 22}));  // the later of two places
  lookup.push(4);
  EXPECT_EQ(drafted(lookup, 7), (std::vector<int32_t>{5, 6, 7, 8, 9, 2}));
  for (const int32_t token : {1, 2, 3}) {
    lookup.push(token);
  }
  EXPECT_EQ(drafted(lookup, 2), (std::vector<int32_t>{4, 5}));
}

TEST(PromptLookup, StopsWhereItLoses) {
  PromptLookup lookup(std::vector<int32_t>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  int wasted = 0;
  for (int i = 0; i < 100; ++i) {
    lookup.push(1);
    wasted += static_cast<int>(lookup.draft(7).size());
    lookup.report(0);
  }
  EXPECT_LT(wasted, 20);  // rows, in a hundred steps
}

TEST(PromptLookup, NeedsNoSource) {
  PromptLookup lookup({});
  EXPECT_TRUE(lookup.draft(7).empty());
  lookup.report(0);
  for (const int32_t token : {4, 5, 6, 7, 4, 5, 6}) {
    lookup.push(token);
  }
  EXPECT_EQ(drafted(lookup, 7).front(), 7);
}

}  // namespace
}  // namespace offbook::model
