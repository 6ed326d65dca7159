#include "src/model/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include "src/base/error.h"

namespace offbook::model {
namespace {

std::map<int32_t, int> counts(const SamplingOptions& options, const std::vector<float>& logits, int draws) {
  Sampler sampler(options);
  std::map<int32_t, int> seen;
  for (int i = 0; i < draws; ++i) {
    ++seen[sampler.sample(logits, {})];
  }
  return seen;
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler greedy({});
  EXPECT_EQ(greedy.sample(std::vector<float>{1, 3, 3, 2}, {}), 1);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const auto seen = counts({.temperature = 1, .seed = 3}, {0, std::log(2.0f), std::log(5.0f)}, 8000);
  EXPECT_NEAR(seen.at(0) / 8000.0, 0.125, 0.02);
  EXPECT_NEAR(seen.at(1) / 8000.0, 0.25, 0.02);
  EXPECT_NEAR(seen.at(2) / 8000.0, 0.625, 0.02);
}

TEST(Sampler, FiltersCutTheTail) {
  const std::vector<float> logits{0, 1, 2, 3};
  EXPECT_EQ(counts({.temperature = 1, .top_k = 2}, logits, 500).size(), 2u);
  EXPECT_EQ(counts({.temperature = 1, .top_p = 0.6f}, logits, 500).size(), 1u);
  EXPECT_EQ(counts({.temperature = 1, .top_p = 0.7f}, logits, 500).size(), 2u);
  EXPECT_EQ(counts({.temperature = 1, .min_p = 0.3f}, logits, 500).size(), 2u);
}

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits(50, 0.0f);
  Sampler a({.temperature = 1, .seed = 9});
  Sampler b({.temperature = 1, .seed = 9});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(a.sample(logits, {}), b.sample(logits, {}));
  }
}

TEST(Sampler, RepetitionPenaltyCountsATokenOnceAndOnlyInTheWindow) {
  const std::vector<float> logits{2, 1.5f, -1};
  Sampler sampler({.repetition_penalty = 1.5f, .repetition_window = 2});
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{0, 0}), 1) << "2/1.5 < 1.5";
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{0, 2, 2}), 0) << "outside the window";
}

TEST(Sampler, RefusesWhatCannotBe) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler greedy({});
  EXPECT_EQ(greedy.sample(std::vector<float>{nan, -4}, {}), 1);
  EXPECT_THROW(greedy.sample(std::vector<float>{nan, nan}, {}), Error);
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
}

}  // namespace
}  // namespace offbook::model
