#include "src/metrics/bootstrap.h"

#include "src/base/error.h"
#include "src/metrics/coverage_simulation.h"

namespace offbook::metrics {
namespace {

std::vector<DocumentScores> ramp(int documents) {
  std::vector<DocumentScores> out;
  for (int i = 0; i < documents; ++i) {
    out.push_back({fmt::format("d{}", i), 0.1 * i * (1 + i % 3), 1 + i % 3});
  }
  return out;
}

TEST(Bootstrap, GathersQuestionsByDocument) {
  const std::vector<std::string> ids = {"b", "a", "b"};
  const auto documents = gather_by_document(ids, std::vector{1.0, 0.25, 0.5});
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[1].id, "b");
  EXPECT_DOUBLE_EQ(documents[1].sum, 1.5);
  EXPECT_EQ(documents[1].questions, 2);
  EXPECT_THROW(gather_by_document(ids, std::vector{1.0}), Error);
  EXPECT_THROW(gather_by_document(ids, std::vector<double>{1.0, NAN, 0.0}), Error);
}

TEST(Bootstrap, MeanWeighsQuestionsAndSameSeedGivesSameBits) {
  const auto documents = ramp(30);
  const Interval a = bootstrap_mean(documents, {.seed = 3, .resamples = 500});
  const Interval b = bootstrap_mean(documents, {.seed = 3, .resamples = 500});
  const Interval other = bootstrap_mean(documents, {.seed = 4, .resamples = 500});
  EXPECT_DOUBLE_EQ(a.estimate, 8.9 / 6);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_NE(a.low, other.low);
  EXPECT_LT(a.low, a.estimate);
  EXPECT_GT(a.high, a.estimate);
  EXPECT_EQ(a.documents, 30);
  EXPECT_EQ(a.questions, 60);
}

TEST(Bootstrap, PairingCancelsWhatDocumentsShare) {
  auto ours = ramp(30);
  for (auto& document : ours) {
    document.sum += 0.05 * static_cast<double>(document.questions);
  }
  const Interval interval = bootstrap_difference(ours, ramp(30), {.resamples = 500});
  EXPECT_NEAR(interval.low, 0.05, 1e-12);
  EXPECT_NEAR(interval.high, 0.05, 1e-12);
  ours[7].questions = 9;
  EXPECT_THROW(bootstrap_difference(ours, ramp(30)), Error);
  EXPECT_THROW(bootstrap_difference(ramp(29), ramp(30)), Error);
}

TEST(Bootstrap, AnyStatisticOfTheDrawnDocuments) {
  const Interval interval = bootstrap_statistic(
      10, [](std::span<const uint32_t> picks) { return static_cast<double>(picks.size()); });
  EXPECT_EQ(interval.low, 10);
  EXPECT_EQ(interval.high, 10);
  EXPECT_THROW(bootstrap_statistic(10, [](std::span<const uint32_t>) { return NAN; }), Error);
}

TEST(Bootstrap, RefusesWhatSaysNothing) {
  EXPECT_THROW(bootstrap_mean(ramp(1)), Error);
  EXPECT_THROW(bootstrap_mean({}), Error);
  EXPECT_THROW(bootstrap_mean(ramp(3), {.resamples = 10}), Error);
  EXPECT_THROW(bootstrap_mean(ramp(3), {.confidence = 1}), Error);
  EXPECT_THROW(bootstrap_mean(std::vector<DocumentScores>{{"a", 1, 1}, {"b", 0, 0}}), Error);
}

// The full simulation is bench/bars/bootstrap_coverage; 400 trials have a standard error of 1.1%.
TEST(Bootstrap, CoversTheTruthAboutAsOftenAsItSays) {
  for (const CoverageScenario scenario : {CoverageScenario::mean, CoverageScenario::difference}) {
    const Coverage coverage = simulate_coverage(
        scenario, {.documents = 50, .trials = 400, .bootstrap = {.resamples = 400}});
    EXPECT_NEAR(coverage.covered, 0.95, 0.035) << to_string(scenario);
    EXPECT_LT(coverage.mean_width, 0.2);
  }
}

}  // namespace
}  // namespace offbook::metrics
