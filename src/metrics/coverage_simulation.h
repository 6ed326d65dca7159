// Simulated question sets with a known mean, to see how often an interval holds it. For the unit
// test and bench/bars; not part of the product.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "src/metrics/bootstrap.h"

namespace offbook::metrics {

// Documents differ in difficulty (logit-normal) and in their number of questions (1 to 120, median
// 10, long tail). A question scores 1 with its document's chance, else 0 or, in 30% of cases,
// something between, as token F1 does.
enum class CoverageScenario {
  mean,                 // of one method, chance about 0.5
  rare_success,         // chance about 0.08: a skewed mean
  size_and_difficulty,  // documents with more questions are harder
  difference            // of two methods on the same documents, the second a little better
};
inline constexpr CoverageScenario kCoverageScenarios[] = {
    CoverageScenario::mean, CoverageScenario::rare_success, CoverageScenario::size_and_difficulty,
    CoverageScenario::difference};
std::string_view to_string(CoverageScenario scenario) noexcept;

// What is drawn again: whole documents, as bootstrap.h does, or single questions as if they were
// independent, which is the mistake that a coverage bar must notice.
enum class CoverageDraws { documents, questions };

struct CoverageOptions {
  int documents = 50;
  int trials = 5000;
  uint64_t seed = 1;
  CoverageDraws draws = CoverageDraws::documents;
  BootstrapOptions bootstrap{.resamples = 2000};
};

struct Coverage {
  double truth = 0;    // by integration
  double covered = 0;  // share of the trials whose interval holds it
  double below = 0;    // … whose interval lies below it
  double mean_width = 0;
};
Coverage simulate_coverage(CoverageScenario scenario, const CoverageOptions& options);

}  // namespace offbook::metrics
