// The names that suites call metrics by.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/evaluate/cases.h"

namespace offbook::evaluate {

// What a case is scored on. Borrows everything.
struct Outcome {
  const Task& task;
  const Case& question;
  std::string_view prediction;
  // Of what the reader was given; absent where it was no text of the document.
  std::optional<double> kept_answer;  // 1: it holds an accepted answer
  int64_t cited = 0;                  // passages given, where passages were retrieved
  int64_t supporting = 0;             // … of which hold an accepted answer
  double nll_sum = 0;                 // Measure::continuation
  int64_t tokens = 0;
  int64_t bytes = 0;
};

// A score of a set is made of sums over its cases, so that it can be computed for any documents
// drawn from it. Most scores are means.
struct Scorer {
  std::string_view name;
  std::string_view help;
  bool is_percent = true;  // in [0, 1], shown times 100
  bool is_lower_better = false;
  // What a case adds; nothing where it does not count (no options, no kept text).
  std::optional<std::vector<double>> (*add)(const Outcome& outcome) = nullptr;
  // From the sums and the number of cases; nothing where there is nothing to count.
  std::optional<double> (*value)(std::span<const double> sums, int64_t cases) = nullptr;
};

std::span<const Scorer> scorers();
// InvalidArgument lists the names.
const Scorer& find_scorer(std::string_view name);
// Whether the score is the plain mean of what its cases add.
bool is_mean(const Scorer& scorer) noexcept;

}  // namespace offbook::evaluate
