// What a run leaves on disk: every question, every prediction, what it cost.
//
// A run's directory holds
//   suite.suite         the suite as it was
//   questions.jsonl     the cases with their references
//   journal/NNNN.jsonl  predictions as they came, one file a run; a last line cut by a kill is left
//   out predictions.jsonl   all of them in the order of the table, without times: the same bytes
//   for the
//                       same run, so that a checksum says whether two runs agree
//   results.json, report.html
// docs/formats/evaluation.md has every field.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "src/base/file_system.h"
#include "src/evaluate/cases.h"

namespace offbook::evaluate {

struct Prediction {
  std::string key;                   // hash of everything that determines it
  std::string task, cell, question;  // names; question: the case's id
  std::string text;
  std::string skipped;  // why there is no text; empty: there is
  int64_t source_tokens = 0, kept_tokens = 0, prompt_tokens = 0, answer_tokens = 0;
  bool is_cut = false;
  std::optional<double> kept_answer;
  int64_t cited = 0, supporting = 0;
  std::vector<ByteSpan> spans;  // of the document, the first ones
  double nll_sum = 0;           // Measure::continuation
  int64_t nll_tokens = 0, nll_bytes = 0;
  double flops = 0;
  // Costs of this very run; not part of predictions.jsonl.
  bool is_cold = false;
  double online_seconds = 0, offline_seconds = 0, prompt_seconds = 0, decode_seconds = 0;
  int64_t peak_bytes = 0;
};

enum class Fields : uint8_t { all, reproducible };
nlohmann::json to_json(const Prediction& prediction, Fields fields);
// Corrupt names `where` and the field.
Prediction prediction_of(const nlohmann::json& json, const std::string& where);

nlohmann::json to_json(const TaskData& data, const Case& c);

// The predictions of a directory by key, and a file for new ones. One writer at a time: a second
// process is refused (InvalidArgument names the first).
class Journal {
 public:
  // Makes the directory; reads what earlier runs left.
  Journal(FileSystem& fs, const std::filesystem::path& directory);
  ~Journal();

  const Prediction* find(const std::string& key) const;
  // Appends; on disk once sync() returned.
  void add(const Prediction& prediction);
  void sync();

 private:
  void read(const std::filesystem::path& path);

  FileSystem& fs_;
  std::filesystem::path directory_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<WritableFile> file_;
  std::filesystem::path next_;
  std::map<std::string, Prediction> by_key_;
};

// A finished directory, for --rescore. Corrupt, with file and line, for damaged lines.
struct KeptRun {
  std::string suite;                    // text
  std::vector<TaskData> tasks;          // `task` not set; documents have no text
  std::vector<std::string> task_names;  // of tasks
  std::vector<Prediction> predictions;
};
KeptRun read_run(FileSystem& fs, const std::filesystem::path& directory);

void write_lines(FileSystem& fs, const std::filesystem::path& path,
                 const std::vector<nlohmann::json>& lines);

}  // namespace offbook::evaluate
