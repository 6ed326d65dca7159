// A recipe → shards: what `offbook data build` runs.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/compress/compressor.h"
#include "src/compress/data/recipe.h"
#include "src/compress/data/shards.h"

namespace offbook::compress {

// What became of a source.
struct SourceReport {
  std::string file;
  int64_t documents = 0, tokens = 0, examples = 0;
  int64_t left_out = 0;  // other part, pattern, group of weight 0, meetings kept apart, caps
  int64_t overlapping = 0;  // of those left out
};

struct DataReport {
  std::vector<SourceReport> sources;
  std::map<std::string, int64_t> examples;  // by kind
  std::map<std::string, int64_t> licences;  // tokens
  double worst_overlap = 0;                 // of a document that went in
  std::string worst_title, worst_with;
  std::vector<std::filesystem::path> files;
};

struct DataBuildOptions {
  std::filesystem::path data;  // where the recipe's files lie
  std::filesystem::path out;   // directory for <name>-000.shard …; must hold no .shard files
  // False ends the build (Cancelled); called once a document.
  std::function<bool(const std::string& file, int64_t documents)> on_progress;
};

// Reads all sources, checks them, shuffles the documents with the recipe's seed and writes shards
// of about shard_tokens tokens. The same recipe and data give the same bytes. Errors: those of
// reading; InvalidArgument, naming up to 20 documents, where one shares more than max_overlap of
// its shingles with one that is kept apart, where a record's licence is not among those the source
// allows, or a question set with parts has fewer than 60 documents. Nothing is written then.
// `base`: tokenizer, fingerprint and chat format are used, never the weights.
struct DataBase {
  const text::Tokenizer& tokenizer;
  Fingerprint fingerprint;
  text::ChatFormat chat_format;
};
DataReport build_data(FileSystem& fs, const DataBase& base, const DataRecipe& recipe,
                      const DataBuildOptions& options);

}  // namespace offbook::compress
