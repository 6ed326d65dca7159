// Scores → one HTML file that needs nothing else: tables, plots, predictions to browse.
#pragma once
#include <cstddef>
#include <string>

#include "src/evaluate/scores.h"

namespace offbook::evaluate {

struct ReportOptions {
  size_t questions_a_task = 12;  // whose predictions can be browsed, under every cell
  std::string model;             // as the heading names it
};

// Texts that the reader was given are shown where the run still has its documents (not after
// --rescore). Everything from data and model is escaped.
std::string render_report(const SuiteScores& scores, const ReportOptions& options);

}  // namespace offbook::evaluate
