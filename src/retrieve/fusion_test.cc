#include "src/retrieve/fusion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"

namespace offbook::retrieve {
namespace {

std::vector<int64_t> fused_ids(const std::vector<std::vector<int64_t>>& rankings,
                               const std::vector<double>& weights) {
  std::vector<int64_t> ids;
  for (const Fused& f : reciprocal_rank_fusion(rankings, weights)) {
    ids.push_back(f.id);
  }
  return ids;
}

TEST(Fusion, WhatBothFindComesFirst) {
  EXPECT_THAT(fused_ids({{1, 2, 3}, {4, 2, 5}}, {1, 1}), testing::ElementsAre(2, 1, 4, 3, 5));
}

TEST(Fusion, ScoresAreSumsOfReciprocals) {
  const std::vector<std::vector<int64_t>> rankings{{7}, {8, 7}};
  const auto fused = reciprocal_rank_fusion(rankings, std::vector<double>{1, 1}, 60);
  EXPECT_DOUBLE_EQ(fused[0].score, 1.0 / 61 + 1.0 / 62);
  EXPECT_EQ(fused[0].ranks[0], 1);
  EXPECT_EQ(fused[0].ranks[1], 2);
  EXPECT_EQ(fused[1].ranks[0], std::nullopt);
}

TEST(Fusion, EqualScoresGoByRankThenId) {
  EXPECT_THAT(fused_ids({{9}, {3}}, {1, 1}), testing::ElementsAre(3, 9));
  EXPECT_THAT(fused_ids({{1, 2}, {2, 1}}, {1, 1}), testing::ElementsAre(1, 2));
}

TEST(Fusion, WeightsCount) {
  EXPECT_THAT(fused_ids({{9}, {3}}, {2, 1}), testing::ElementsAre(9, 3));
}

TEST(Fusion, TheConstantSaysWhatPlaceFortyInBothIsWorth) {
  std::vector<std::vector<int64_t>> rankings(2);
  for (int64_t place = 1; place <= 40; ++place) {
    rankings[0].push_back(place == 40 ? 0 : 100 + place);
    rankings[1].push_back(place == 40 ? 0 : 200 + place);
  }
  const std::vector<double> weights{1, 1};
  EXPECT_EQ(reciprocal_rank_fusion(rankings, weights, 60).front().id, 0);
  EXPECT_EQ(reciprocal_rank_fusion(rankings, weights, 3).front().id, 101);
}

TEST(Fusion, NothingFromNothing) {
  EXPECT_TRUE(fused_ids({{}, {}}, {1, 1}).empty());
  EXPECT_THROW(fused_ids({{1}}, {1, 1}), Error);
}

}  // namespace
}  // namespace offbook::retrieve
