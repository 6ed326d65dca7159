// What is measured: a suite is a text file of tasks, each with its data, prompt, decoding and
// metrics. docs/formats/suite.md describes the file; suites/ holds those that come with offbook.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/metrics/infinitebench.h"

namespace offbook::evaluate {

// Where the questions of a task come from.
enum class Source : uint8_t {
  documents,      // a file of documents with questions, or of single rows
  infinitebench,  // a file of ∞Bench rows that the user supplies
  needle,         // made: generators/needle.h
  generated,      // made: the six tasks of generators/infinitebench.h
  ruler           // made: generators/ruler.h
};

// What is measured of a case: an answer's text, or how likely the document goes on as it does.
enum class Measure : uint8_t { answer, continuation };

// What happens where a text does not fit the window.
enum class Cut : uint8_t {
  head,    // its beginning is kept
  middle,  // both ends are kept
  never    // the case is left out: the fact it asks for might be in what was cut
};

enum class References : uint8_t {
  given,
  full_output  // what the same model answers with the whole text (self-consistency)
};

// One task, checked: every name in it exists.
struct Task {
  std::string name;
  std::string where;  // file and line of its heading, for errors

  Source source = Source::documents;
  std::filesystem::path data;      // file name; data_paths() says where it is looked for
  std::filesystem::path haystack;  // plain text for made tasks
  std::filesystem::path passages;  // documents with questions for RULER's qa tasks
  std::string generator;           // the made task's name
  int64_t cases = 0;               // made a length, per depth
  std::vector<std::string> types;  // question types that count; empty: all
  std::string question;            // asked of every document, instead of its own questions
  bool is_test_only = false;       // the whole set is tested whatever its size
  // Documents that learned methods may be scored on, as a shell pattern; empty: all of the part.
  std::string learned_documents;
  int64_t max_document_tokens = 0;  // longer ones are cut at a line end before anything; 0: none

  std::string system;
  std::string prompt;          // with {context}, {question}, {options}, {stem}, {example}
  std::string prompt_alone;    // the same without a context
  bool begins_answer = false;  // a case's stem begins the answer in chat form too
  int32_t max_tokens = 32;
  std::vector<std::string> stop;
  float temperature = 0;
  Cut cut = Cut::head;
  Measure measure = Measure::answer;
  int32_t context_tokens = 0;       // continuation: how much text stands before
  int32_t continuation_tokens = 0;  // … and how much is predicted
  References references = References::given;

  std::vector<std::string> metrics;  // the first is the task's score; metrics.h
  std::optional<metrics::InfiniteBenchTask> infinitebench;
};

struct Suite {
  std::string name;
  std::string title;
  std::string text;  // the file as read: part of what a result depends on
  std::vector<Task> tasks;
  // The mean over all tasks is only printed when this many were scored; 0: those there are.
  size_t tasks_for_average = 0;
};

// Corrupt, with file and line, for a line that is no key, an unknown or doubled key, a value out of
// range, an unknown metric, generator or type, a prompt without {question}, a task without data.
Suite parse_suite(std::string_view text, const std::string& file);

// `name_or_path`: the name of a suite that comes with offbook (builtin_suites.h), a path of a suite
// file (with a / or ending in .suite), or of a .jsonl or .jsonl.zst file, which is measured by the
// one task "qa". NotFound lists the names there are.
Suite load_suite(FileSystem& fs, const std::string& name_or_path);

// The suite that a user's own questions are measured with.
std::string own_data_suite(const std::filesystem::path& data);

}  // namespace offbook::evaluate
