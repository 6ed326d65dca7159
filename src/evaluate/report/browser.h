// The predictions that a report lets people look at.
#pragma once
#include <string>

#include "src/evaluate/scores.h"

namespace offbook::evaluate {

// A JSON list, read by kReportScript: `questions_a_task` questions of each task, spread over it,
// under every cell, with what the reader was given (where the documents are at hand) and the places
// of accepted answers in it, in UTF-16 units as scripts count.
std::string browsable_predictions(const SuiteScores& scores, size_t questions_a_task);

}  // namespace offbook::evaluate
