// Files of questions → documents and cases. Internal to src/evaluate.
#pragma once
#include <filesystem>

#include "src/base/file_system.h"
#include "src/evaluate/cases.h"

namespace offbook::evaluate {

// Adds a file's documents and questions. Three kinds of lines are known: a document ("text" with
// "questions"), a row ("context" or "text", "question", "answers" or "answer"), and, where the task
// says so, a row of ∞Bench. Rows with the same text share a document. Corrupt, with file and line,
// for anything else, a question without an answer where it needs one, a label that is no option.
void read_questions(FileSystem& fs, const std::filesystem::path& path, const Task& task,
                    TaskData& to);

}  // namespace offbook::evaluate
