// The questions of a task, read or made, with the texts they are asked about.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/evaluate/generators/case.h"
#include "src/evaluate/suite.h"
#include "src/metrics/split.h"
#include "src/text/tokenizer.h"

namespace offbook::evaluate {

struct CaseDocument {
  std::string id;
  std::string text;
  std::string hash;  // of the text, 32 hex digits
};

struct Case {
  std::string id;
  size_t document = 0;  // index into TaskData::documents
  std::string question;
  std::vector<std::string> answers;  // accepted ones; all wanted if wants_all
  bool wants_all = false;
  std::vector<std::string> options;
  std::optional<size_t> label;  // of the right option
  nlohmann::json value;         // ∞Bench's label with its type, ASQA's answer sets; else null
  std::string type;
  std::string stem;
  std::string example;       // a worked case of the same kind, which no method compresses
  std::string continuation;  // Measure::continuation: the text that is predicted
  double depth = -1;         // where the fact stands, as a share; −1: not known
  int64_t length = 0;        // made tasks: tokens asked for
};

struct TaskData {
  const Task* task = nullptr;
  std::vector<CaseDocument> documents;
  std::vector<Case> cases;  // those of one document follow each other
  // Whether learned methods may be scored on it: a test part, or a set that is only ever tested.
  bool learned_may_run = false;
  std::string part;    // "test", "tune", "train", "all", "made"
  std::string absent;  // why there is nothing: what was looked for; empty: it is there
};

enum class Part : uint8_t { train, tune, test, all };
Part part_named(std::string_view name);  // InvalidArgument lists the names

struct CaseOptions {
  std::filesystem::path data;  // folder of the data files (and its subfolder "data")
  Part part = Part::test;
  int64_t limit = 0;  // questions of a task at most, spread over documents; made: a length; 0: all
  uint64_t seed = 1;  // chooses them, and makes cases
  int64_t max_bytes =
      0;  // documents with more text are left out, but for the four shortest; 0: none
  std::vector<int64_t> lengths = {1000};  // of made cases, in tokens
  int depths = 10;                        // of needles
};

// Where a task's file may lie: as named, in options.data, in its subfolder "data".
std::optional<std::filesystem::path> find_data(FileSystem& fs, const std::filesystem::path& name,
                                               const std::filesystem::path& data);

// Sets of 60 documents and more give the part asked for, smaller ones, and those marked in the
// suite, all their documents (metrics/split.h). A file that is not there gives an
// absent task, not an error. Corrupt, with file and line, for damaged records: no text, a question
// without answers, a label that is no option. The same options give the same cases everywhere.
TaskData load_cases(FileSystem& fs, const Task& task, const CaseOptions& options,
                    const text::Tokenizer& tokenizer);

// "1k", "4096", "1k..32k" (ten lengths at equal distances), "1k,2k,4k". InvalidArgument otherwise.
std::vector<int64_t> parse_lengths(std::string_view text, std::string_view option);

}  // namespace offbook::evaluate
