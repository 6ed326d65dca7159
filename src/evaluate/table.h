// Scores → a table for a terminal.
#pragma once
#include <string>

#include "src/evaluate/scores.h"

namespace offbook::evaluate {

// A block a task (a row a cell: score with its interval, the difference to the baseline, marked
// where its interval leaves out 0, what was kept, what it cost), then all tasks' first scores side
// by side. What is absent is said, with the reason.
std::string render_table(const SuiteScores& scores);

// A cell's name, without the window where all cells have one.
std::string row_name(const SuiteRun& run, size_t cell);

// "41.2" for a percent metric, "3.142" for others.
std::string score_text(const Scorer& scorer, double value);

}  // namespace offbook::evaluate
