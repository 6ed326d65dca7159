// Predictions → the figures of a table, with intervals.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "src/evaluate/run.h"
#include "src/evaluate/scorers.h"
#include "src/metrics/bootstrap.h"

namespace offbook::evaluate {

struct ScoreOptions {
  std::string baseline = "truncate";  // the method that others are compared with
  uint64_t seed = 1;
  int resamples = 10'000;
};

// One metric of one cell on one task. Not in percent.
struct Score {
  const Scorer* scorer = nullptr;
  std::optional<double> value;  // nothing to count: absent
  // 95%, over documents; absent for fewer than two.
  std::optional<metrics::Interval> interval;
  // Ours minus the baseline's, on the questions that both have, documents drawn together.
  std::optional<metrics::Interval> difference;
};

struct CellScores {
  size_t cell = 0;  // index into SuiteRun::cells
  std::string absent;
  int64_t documents = 0, questions = 0, skipped = 0;
  std::string baseline;       // name of the cell that it is compared with; empty: none
  std::vector<Score> scores;  // in the order of the task's metrics
  double source_tokens = 0, kept_tokens = 0, prompt_tokens = 0;  // means
  double cut_share = 0;                       // of questions whose text the window cut
  std::optional<double> first_token_seconds;  // median of the prompts computed whole
  int64_t cold_prompts = 0;
  std::optional<double> decode_tokens_per_second;
  double offline_seconds = 0;  // a document, mean of those that were made now
  double flops = 0;            // a question, mean
  int64_t peak_bytes = 0;
  // Continuations: (none − this) / (none − full).
  std::optional<double> gap_recovered;
};

struct TaskScores {
  const TaskRun* run = nullptr;
  std::vector<CellScores> cells;
};

struct SuiteScores {
  const SuiteRun* run = nullptr;
  ScoreOptions options;
  std::vector<TaskScores> tasks;
  // By cell: mean of the tasks' first scores, where enough tasks were scored.
  std::vector<std::optional<double>> averages;
};

// InvalidArgument for an unknown baseline. The same predictions and seed give the same bits.
SuiteScores score_run(const SuiteRun& run, const ScoreOptions& options);

// What a case counts on: references are the full text's answer where the task says so.
std::optional<Case> scored_case(const TaskRun& task, const std::vector<Cell>& cells, size_t cell,
                                size_t index);
Outcome outcome_of(const TaskRun& task, const Case& c, const Prediction& prediction);

nlohmann::json to_json(const SuiteScores& scores);

}  // namespace offbook::evaluate
