// What a reader is given and what it gives back.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "src/ingest/limits.h"
#include "src/records/document.h"

namespace offbook::ingest {

// One file's bytes, owned by the caller for as long as a reader runs.
struct Source {
  std::string path;  // relative to the folder, '/'-separated; names the document and errors
  std::span<const std::byte> bytes;
  int64_t modified_ns = 0;
};

struct ReadOptions {
  Limits limits;
  // jsonl: fields of a record that hold its text (all that are there, in this order) and its title
  // (the first that is there).
  std::vector<std::string> jsonl_text_fields = {"text"};
  std::vector<std::string> jsonl_title_fields = {"title"};
  // A path, or a name looked for in /usr/local/bin, /usr/bin and /bin.
  std::filesystem::path pdftotext = "pdftotext";
  // Ends pdftotext when asked to stop; other formats are read to their end.
  std::stop_token stop;
};

struct ReadResult {
  Document document;
  std::vector<std::string> warnings;  // one sentence each: guesses and replacements that were made
  std::vector<Passage> passages;      // where ReadFilesOptions::cut makes them
};

}  // namespace offbook::ingest
