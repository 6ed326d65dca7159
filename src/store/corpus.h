// One corpus: a directory with corpus.db and artefacts (docs/formats/corpus.md).
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "src/base/file_system.h"
#include "src/store/adapter_table.h"
#include "src/store/artefact.h"
#include "src/store/context_table.h"
#include "src/store/document_table.h"
#include "src/store/example_table.h"
#include "src/store/generation_table.h"
#include "src/store/job_table.h"
#include "src/store/sqlite.h"
#include "src/store/vector_table.h"

namespace offbook::store {

enum class Access { read, write };

struct CorpusOptions {
  Access access = Access::read;
  FileSystem* fs = nullptr;         // null: the real one
  std::string vfs;                  // SQLite VFS that serves the same files; empty: the real one
  std::function<int64_t()> now_ns;  // null: the system clock
};

// An open corpus. One writer at a time (a lock names its process), any number of readers beside it,
// each seeing the last commit. Not thread-safe: a thread that reads opens its own.
// Writes outside a Batch are each durable when they return.
class Corpus {
 public:
  // NotFound (no directory), InvalidArgument (no corpus), Unsupported (newer format), Corrupt,
  // Io (in use, not writable). Opening for writing migrates older formats, and puts units that a
  // dead process was working on back to pending.
  static Corpus open(const std::filesystem::path& directory, const CorpusOptions& options);
  // Makes a new one, mode 0700, or finishes one whose making was interrupted; opens it for writing.
  // InvalidArgument when the directory holds anything else.
  static Corpus create(const std::filesystem::path& directory, CorpusOptions options);
  // True when the directory holds a corpus.db.
  static bool is_corpus(FileSystem& fs, const std::filesystem::path& directory);

  Corpus(Corpus&&) noexcept;
  ~Corpus();

  DocumentTable documents() { return DocumentTable(*db_, clock_); }
  ContextTable contexts() { return ContextTable(*db_, *artefacts_); }
  VectorTable vectors() { return VectorTable(*db_, *artefacts_); }
  AdapterTable adapters() { return AdapterTable(*db_, *artefacts_, clock_); }
  ExampleTable examples() { return ExampleTable(*db_); }
  GenerationTable generations() { return GenerationTable(*db_, clock_); }
  JobTable jobs() { return JobTable(*db_, *artefacts_, clock_); }

  std::optional<std::string> setting(const std::string& key);
  void set_setting(const std::string& key, const std::string& value);

  // Drops a document for good, from every generation: its text, passages, segments, vectors and
  // contexts nobody else uses go; adapters trained on it and its examples become stale. Its
  // artefact files go with the next collect_garbage(). False when there is no such document.
  bool remove_document(const std::string& document_id);
  // Drops old and failed generations except the newest `keep` old ones, and document versions that
  // no generation answers from. Returns how many generations went.
  int drop_old_generations(int keep);

  Database& db() noexcept { return *db_; }
  ArtefactStore& artefacts() noexcept { return *artefacts_; }
  FileSystem& fs() noexcept { return *fs_; }
  const std::filesystem::path& directory() const noexcept { return directory_; }

 private:
  Corpus() = default;
  void drop_version(int64_t number);

  std::filesystem::path directory_;
  FileSystem* fs_ = nullptr;
  Clock clock_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Database> db_;
  std::unique_ptr<ArtefactStore> artefacts_;
};

// How often work in progress becomes durable.
struct CommitPolicy {
  double max_seconds = 10;  // a kill loses at most this and the unit in hand; never above 30
  int max_units = 1'000'000;
};

// Many units of work in few transactions: a sync to disk costs milliseconds, a small unit less.
// Everything written through the corpus while this lives belongs to it. Each unit stays whole: call
// unit_done() only between units. Destroyed without commit() (an error, Ctrl-C) it still keeps the
// units done so far.
class Batch {
 public:
  Batch(Corpus& corpus, CommitPolicy policy, std::function<double()> seconds = {});
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Commits when the policy says so. What is reported to a user as done is durable_units().
  void unit_done();
  void commit();
  int64_t durable_units() const noexcept { return durable_; }

 private:
  void begin();

  Database& db_;
  CommitPolicy policy_;
  std::function<double()> seconds_;
  double began_ = 0;
  int64_t pending_ = 0;
  int64_t durable_ = 0;
};

}  // namespace offbook::store
