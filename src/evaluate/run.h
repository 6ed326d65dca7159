// Suite × cells → predictions: what is missing is computed, what is there is not.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "src/evaluate/cases.h"
#include "src/evaluate/cell.h"
#include "src/evaluate/contexts.h"
#include "src/evaluate/predictions.h"
#include "src/evaluate/reader.h"
#include "src/evaluate/suite.h"

namespace offbook::evaluate {

// A task's cases under every cell.
struct TaskRun {
  TaskData data;
  std::vector<std::string> absent;  // by cell: why it was not run on this task; empty: it was
  // By cell, then by case; without text where the cell is absent, or learned and the document not
  // for learned methods.
  std::vector<std::vector<std::optional<Prediction>>> predictions;
};

struct SuiteRun {
  const Suite* suite = nullptr;
  std::vector<Cell> cells;
  std::vector<TaskRun> tasks;
  int64_t computed = 0, kept = 0;  // predictions made now, found
  double seconds = 0;              // of the computing
};

struct RunOptions {
  CaseOptions cases;
  std::vector<Cell> cells;
  ContextOptions contexts;
  std::filesystem::path out;  // the run's directory
  // Called after every few predictions; false stops (the state on disk is resumable).
  std::function<bool(int64_t done, int64_t total)> on_progress;
};

// Same suite, options, model and device: same predictions, however often it was stopped in between.
// Cancelled, saying how far it got, when on_progress says so.
SuiteRun run_suite(FileSystem& fs, const Suite& suite, const ContextTools& tools, Reader& reader,
                   const RunOptions& options);

// The same from a directory, without a model: cells and predictions as they were kept, and the
// scores of `suite` (which may have other metrics). Borrows the suite. InvalidArgument where the
// directory has a task that the suite has not.
SuiteRun kept_suite_run(FileSystem& fs, const Suite& suite, const std::filesystem::path& directory);

// Writes suite, questions and predictions of a whole run.
void write_run(FileSystem& fs, const SuiteRun& run, const std::filesystem::path& directory);

}  // namespace offbook::evaluate
