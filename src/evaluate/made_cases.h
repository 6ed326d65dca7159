// Suites' `generate = …`. Internal to src/evaluate.
#pragma once
#include "src/evaluate/cases.h"

namespace offbook::evaluate {

// Adds the cases of a made task: per length in options.lengths task.cases of them, needles per
// length and depth. Each is a document of its own. Files the task needs and that are not there make
// it absent.
void make_cases(FileSystem& fs, const Task& task, const CaseOptions& options,
                const text::Tokenizer& tokenizer, TaskData& to);

}  // namespace offbook::evaluate
