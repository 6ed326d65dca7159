// A folder of documents: what is in it, what changed since it was learned, and reading many files.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "src/base/error.h"
#include "src/ingest/source.h"

namespace offbook::ingest {

// A file or folder that was not read, and why. `path` is relative to the folder.
struct ReportEntry {
  std::string path;
  ErrorCode code = ErrorCode::Io;
  std::string message;
};

struct FolderOptions {
  bool include_hidden = false;  // names that begin with '.'
  // Globs of paths to leave out, as in a .gitignore line: '*' and '?' do not match '/', "**" does;
  // one without '/' is matched against each name on the path ("*.tmp", "node_modules").
  std::vector<std::string> ignore;
};

struct FoundFile {
  std::string path;  // relative, '/'-separated
  uint64_t size_bytes = 0;
  int64_t modified_ns = 0;
};

struct FolderListing {
  std::vector<FoundFile> files;      // sorted by path, bytewise
  std::vector<ReportEntry> skipped;  // unreadable folders, links out of the folder, unknown kinds
};

// Walks `root`. A link is followed only to a file inside the folder that is not listed anyway (a
// hidden one); never to a folder. Files whose extension no reader has are reported, not listed.
// `root` may be a single file. NotFound where there is no root; Io where it cannot be read.
FolderListing list_folder(const std::filesystem::path& root, const FolderOptions& options);

// Does a glob match a relative path? See FolderOptions::ignore.
bool matches_glob(std::string_view glob, std::string_view path);

// What the store remembers of a file.
struct KnownFile {
  std::string path;
  uint64_t size_bytes = 0;
  int64_t modified_ns = 0;
  std::string content_hash;  // Document::content_hash
};

struct FolderChanges {
  std::vector<FoundFile> added, changed;
  std::vector<FoundFile> unchanged;  // with the modification time of today
  std::vector<KnownFile> removed;    // known, not found
};

// Same size and time: unchanged. Same size, another time: hashed, and unchanged if the content is
// the same (a copy, a checkout). All lists sorted by path. Files that cannot be read count as
// changed: reading them will say why. Cancelled when asked to stop.
FolderChanges compare_folder(const std::filesystem::path& root, std::vector<FoundFile> found,
                             std::vector<KnownFile> known, std::stop_token stop = {});

struct Progress {
  size_t files_done = 0, files_total = 0;
  uint64_t bytes_done = 0, bytes_total = 0;
};

struct ReadFilesOptions {
  ReadOptions read;
  int threads = 0;                                     // 0: as many as the machine has
  uint64_t max_bytes_in_flight = uint64_t{256} << 20;  // of sources being read or waiting; one file
                                                       // always goes, however large
  std::stop_token stop;
  std::function<void(const Progress&)> on_progress;  // in the calling thread, after every file
  // Makes ReadResult::passages, in the reading threads; what it throws is the file's fault. Null:
  // none are made.
  std::function<std::vector<Passage>(const Document&)> cut;
};

// One file's outcome, in the order of the list.
using FileOutcome = std::variant<ReadResult, ReportEntry>;

// Reads the files with several threads and hands each outcome to `sink`, in list order, in the
// calling thread. What is read ahead is bounded, so memory does not grow with the folder. A file
// that fails becomes a ReportEntry and the rest goes on. Cancelled when asked to stop; what `sink`
// throws comes out here; in both cases all threads have ended.
void read_files(const std::filesystem::path& root, const std::vector<FoundFile>& files,
                const ReadFilesOptions& options,
                const std::function<void(const FoundFile&, FileOutcome)>& sink);

}  // namespace offbook::ingest
