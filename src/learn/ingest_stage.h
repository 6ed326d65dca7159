// The stage `ingest`: a folder of files → documents and passages of a generation.
#pragma once
#include <functional>
#include <limits>
#include <stop_token>
#include <string>
#include <vector>

#include "src/ingest/folder.h"
#include "src/ingest/passages.h"
#include "src/store/corpus.h"

namespace offbook::learn {

struct IngestOptions {
  ingest::FolderOptions folder;
  ingest::PassageOptions passages;
  ingest::ReadFilesOptions reading;  // its stop and on_progress are used as they are
  // Names everything else that cuts depend on (both tokenisers): with another one, or other passage
  // options, files that did not change are cut again.
  std::string tokenizers;
  bool prune = false;  // documents whose file is gone leave the generation
};

// What a run would do, without doing it.
struct IngestPlan {
  std::filesystem::path root;
  ingest::FolderListing listing;
  ingest::FolderChanges changes;  // against a generation
  bool cuts_changed = false;      // unchanged files are in changes.changed
  // Not in `changes`: refused for what they hold when they were last read, and not changed since.
  std::vector<ingest::FoundFile> refused;
  uint64_t max_file_bytes = std::numeric_limits<uint64_t>::max();  // larger files are not read
  uint64_t bytes_to_read() const;
};

// InvalidArgument when the folder holds no file that can be read. `generation` 0: nothing is known.
IngestPlan plan_ingest(store::Corpus& corpus, int64_t generation, const std::filesystem::path& root,
                       const IngestOptions& options);

struct IngestResult {
  int64_t read = 0, unchanged = 0, pruned = 0, gone = 0;  // gone: file missing, document kept
  int64_t passages = 0;                                   // of the documents read
  uint64_t text_bytes = 0;                                // of these
  int64_t base_tokens = 0;                                // of these
  std::vector<ingest::ReportEntry> skipped;
  std::vector<std::string> warnings;  // "path: what was guessed"
};

// Carries a plan out. A file that fails is reported and skipped; the version of it learned before
// stays in the generation. What was done before a stop or a kill stays: the next plan is shorter.
// Errors: Cancelled; Io of the corpus. Cost: reading and cutting run on all threads; memory holds
// what is being read, at most options.reading.max_bytes_in_flight of sources.
IngestResult run_ingest(store::Corpus& corpus, int64_t generation, const IngestPlan& plan,
                        const ingest::TokenCounter& counter, const IngestOptions& options);

}  // namespace offbook::learn
