// What training data are made of: docs/formats/training_data.md.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/file_system.h"
#include "src/metrics/split.h"

namespace offbook::compress {

// Questions made by rule from a source's text, at most so many a thousand tokens.
struct RuleShare {
  double asked = 0;
  double cloze = 0;
  double keywords = 0;
};

struct RecipeSource {
  std::string file;                        // .jsonl or .jsonl.zst, relative to the data directory
  std::map<std::string, double> groups;    // weight a group; empty: all, weight 1
  std::string group;                       // of records that have none
  std::vector<std::string> licences;       // allowed; a record of another one is an error
  std::string licence;                     // of records that have none
  std::optional<metrics::SplitPart> part;  // of a question set: only this part's documents
  std::string id_pattern;                  // ECMAScript; only ids that match as a whole
  int64_t max_tokens = INT64_MAX;
  int64_t max_document_tokens = INT64_MAX;  // longer documents are cut
  RuleShare rules;
  bool leaves_out_overlaps = false;  // documents above max_overlap; false: they end the build
  bool has_questions = false;
  size_t references = 2;    // of a question: accepted answers that are used
  std::string instruction;  // in front of its questions
};

struct DataRecipe {
  std::string name;
  uint64_t seed = 0;
  int64_t shard_tokens = 16'000'000;
  std::string system;       // of prompts
  std::string instruction;  // in front of questions made by rule
  std::string quote;        // in front of keywords
  std::vector<RecipeSource> sources;
  // Nothing may share more than max_overlap of its shingles with a document of these: whole files,
  // or, where is_split, the part for testing of question sets.
  struct Apart {
    std::string file;
    bool is_split = false;
  };
  std::vector<Apart> apart;
  double max_overlap = 0.02;
  // Question sets whose documents stand in a source under `qa_id`: such a record is dropped unless
  // its id is in the set's part for training.
  std::vector<std::string> leave_out;  // ids or titles of documents, each with a reason elsewhere
  std::string hash;
};

// InvalidArgument or Corrupt, naming file and field.
DataRecipe read_recipe(FileSystem& fs, const std::filesystem::path& path);

}  // namespace offbook::compress
