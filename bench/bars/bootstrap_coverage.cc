// Bar: 95% bootstrap intervals hold the true mean in 95 ± 1% of ≥ 5,000 simulated sets of 50
// documents, for a mean, a rare success, a paired difference, and where long documents are also
// harder. Needs no data. --quick: 1,000 sets, the same figure within ± 2.5%. --sabotage: questions
// of a document are drawn as if each were one.
#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "src/metrics/coverage_simulation.h"

int main(int argc, char** argv) {
  using namespace offbook::metrics;
  const auto has = [&](std::string_view flag) {
    return std::any_of(argv + 1, argv + argc, [&](const char* a) { return a == flag; });
  };
  CoverageOptions options{.documents = 50, .trials = has("--quick") ? 1000 : 10000};
  options.draws = has("--sabotage") ? CoverageDraws::questions : CoverageDraws::documents;
  const double tolerance = has("--quick") ? 0.025 : 0.01;
  double farthest = 0;
  for (const CoverageScenario scenario : kCoverageScenarios) {
    const Coverage coverage = simulate_coverage(scenario, options);
    fmt::print("{:<20} truth {:.4f} covered {:.2f}% (too low {:.2f}%) mean width {:.4f}\n",
               to_string(scenario), coverage.truth, 100 * coverage.covered, 100 * coverage.below,
               coverage.mean_width);
    if (std::abs(coverage.covered - 0.95) > std::abs(farthest)) {
      farthest = coverage.covered - 0.95;
    }
  }
  fmt::print("{} sets of {} documents: farthest from 95% by {:+.2f}% (bar ±{:.1f}%)\n",
             options.trials, options.documents, 100 * farthest, 100 * tolerance);
  return std::abs(farthest) <= tolerance ? 0 : 1;
}
