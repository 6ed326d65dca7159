#include "src/metrics/coverage_simulation.h"

#include <array>
#include <cmath>
#include <numbers>
#include <random>

namespace offbook::metrics {
namespace {

constexpr double kPartialShare = 0.3;  // of the questions not fully right

struct Model {
  double offset;          // of the logit
  double size_slope = 0;  // how much the logit falls with a document's (standardised) size
};

Model model_of(CoverageScenario scenario) {
  switch (scenario) {
    case CoverageScenario::rare_success:
      return {-3};
    case CoverageScenario::size_and_difficulty:
      return {0, 0.7};
    default:
      return {0};
  }
}

double chance(const Model& model, double difficulty, double size) {
  return 1 / (1 + std::exp(-(model.offset + difficulty - model.size_slope * size)));
}

double mean_score(double chance) {
  return chance + (1 - chance) * kPartialShare / 2;
}

int questions_of(double size) {
  return std::clamp(static_cast<int>(std::exp(std::log(10.0) + 0.8 * size)), 1, 120);
}

// E[questions · score] / E[questions] over both normal variables, on a grid.
double true_mean(const Model& model) {
  constexpr int kSteps = 801;
  double weighted = 0, weight = 0;
  for (int i = 0; i < kSteps; ++i) {
    const double difficulty = -6 + 12.0 * i / (kSteps - 1);
    for (int j = 0; j < kSteps; ++j) {
      const double size = -6 + 12.0 * j / (kSteps - 1);
      const double density = std::exp(-(difficulty * difficulty + size * size) / 2);
      weight += density * questions_of(size);
      weighted += density * questions_of(size) * mean_score(chance(model, difficulty, size));
    }
  }
  return weighted / weight;
}

// Uniform and normal numbers that are the same with every standard library.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : bits_(seed) {}
  double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }
  double normal() {
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  std::mt19937_64 bits_;
};

double question_score(double chance, Numbers& numbers) {
  if (numbers.uniform() < chance) {
    return 1;
  }
  return numbers.uniform() < kPartialShare ? numbers.uniform() : 0;
}

using Sets = std::array<std::vector<DocumentScores>, 2>;

// One set, scored by the methods of `models`.
Sets draw_set(const std::array<Model, 2>& models, const CoverageOptions& options,
              Numbers& numbers) {
  Sets out;
  for (int d = 0; d < options.documents; ++d) {
    const double difficulty = numbers.normal();
    const double size = numbers.normal();
    const int questions = questions_of(size);
    for (size_t m = 0; m < models.size(); ++m) {
      const bool is_whole = options.draws == CoverageDraws::documents;
      out[m].resize(out[m].size() + static_cast<size_t>(is_whole ? 1 : questions));
      auto document = out[m].end() - (is_whole ? 1 : questions);
      for (int q = 0; q < questions; ++q) {
        document->sum += question_score(chance(models[m], difficulty, size), numbers);
        ++document->questions;
        document += is_whole ? 0 : 1;
      }
    }
  }
  return out;
}

}  // namespace

std::string_view to_string(CoverageScenario scenario) noexcept {
  constexpr std::array<std::string_view, 4> kNames = {"mean", "rare success", "size and difficulty",
                                                      "paired difference"};
  return kNames[static_cast<size_t>(scenario)];
}

Coverage simulate_coverage(CoverageScenario scenario, const CoverageOptions& options) {
  const bool is_paired = scenario == CoverageScenario::difference;
  const std::array<Model, 2> models = {model_of(scenario), Model{0.3}};
  Coverage out;
  out.truth = true_mean(models[0]);
  if (is_paired) {
    out.truth = true_mean(models[1]) - out.truth;
  }
  Numbers numbers(options.seed);
  BootstrapOptions bootstrap = options.bootstrap;
  int covered = 0, below = 0;
  for (int trial = 0; trial < options.trials; ++trial) {
    const auto set = draw_set(models, options, numbers);
    bootstrap.seed = options.bootstrap.seed + static_cast<uint64_t>(trial);
    const Interval interval = is_paired ? bootstrap_difference(set[1], set[0], bootstrap)
                                        : bootstrap_mean(set[0], bootstrap);
    covered += interval.low <= out.truth && out.truth <= interval.high;
    below += interval.high < out.truth;
    out.mean_width += (interval.high - interval.low) / options.trials;
  }
  out.covered = static_cast<double>(covered) / options.trials;
  out.below = static_cast<double>(below) / options.trials;
  return out;
}

}  // namespace offbook::metrics
