// A user's file of questions with answers.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/records/context.h"
#include "src/store/corpus.h"

namespace offbook::learn {

struct GivenQuestion {
  std::string question;
  std::vector<std::string> answers;  // at least one
  std::string document;              // as the file names it; empty: not tied to one
  size_t line = 0;                   // of the file, from 1
};

// Reads .jsonl (one object a line) or .csv, .tsv (first record: names). Fields: question; answers
// (a list, or in CSV texts separated by '|') or answer; optional document or file. Other fields are
// left alone. Errors name file, line and field: Unsupported (another extension), Corrupt
// (ill-formed line, a field missing or of another type), InvalidArgument (no question at all). One
// file is read whole; at most 1 GiB.
std::vector<GivenQuestion> read_question_file(FileSystem& fs, const std::filesystem::path& file);

// The questions as examples of a generation. A document is named by id, path, file name, file name
// without extension, or title; it must be the only one (InvalidArgument with file and line:
// none, or several). Supporting passages are those of the document that hold an answer word for
// word. A question asked twice of a document keeps the first place and gets the answers of both.
std::vector<Example> match_documents(store::Corpus& corpus, int64_t generation,
                                     const std::filesystem::path& file,
                                     const std::vector<GivenQuestion>& questions);

// Names an example by what it says: equal document, question and first answer, equal id.
std::string example_id(const Example& example);

}  // namespace offbook::learn
