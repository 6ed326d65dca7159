#include "src/store/corpus.h"

#include <chrono>

#include <unistd.h>

#include "src/store/schema.h"

namespace offbook::store {
namespace {

namespace stdfs = std::filesystem;

constexpr double kMaxCommitSeconds = 30;

int64_t system_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Names whoever holds the lock, as far as the file says.
std::unique_ptr<FileLock> lock_for_writing(FileSystem& fs, const stdfs::path& directory) {
  auto lock = fs.try_lock(directory / "lock", fmt::format("process {}", ::getpid()));
  if (lock != nullptr) {
    return lock;
  }
  const auto file = fs.open(directory / "lock");
  const std::string holder(reinterpret_cast<const char*>(file->bytes().data()),
                           std::min<size_t>(file->bytes().size(), 200));
  OB_THROW(Io, "corpus {} is being written by another offbook ({}); wait for it or stop it",
           directory.string(), holder.empty() ? "unknown process" : holder);
}

}  // namespace

Corpus::Corpus(Corpus&&) noexcept = default;

Corpus::~Corpus() {
  // The database must close, and with it flush its log, while the lock is still held.
  db_.reset();
  lock_.reset();
}

bool Corpus::is_corpus(FileSystem& fs, const stdfs::path& directory) {
  const auto info = fs.stat(directory / "corpus.db");
  return info && !info->is_directory;
}

Corpus Corpus::open(const stdfs::path& directory, const CorpusOptions& options) {
  Corpus corpus;
  corpus.directory_ = directory;
  corpus.fs_ = options.fs != nullptr ? options.fs : &real_file_system();
  corpus.clock_ = options.now_ns ? options.now_ns : system_now_ns;
  const auto info = corpus.fs_->stat(directory);
  OB_REQUIRE(info, NotFound, "corpus {}: no such directory", directory.string());
  OB_REQUIRE(info->is_directory && is_corpus(*corpus.fs_, directory), InvalidArgument,
             "{} is no corpus (it has no corpus.db)", directory.string());
  const bool is_writer = options.access == Access::write;
  if (is_writer) {
    corpus.lock_ = lock_for_writing(*corpus.fs_, directory);
  }
  corpus.db_ = std::make_unique<Database>(DatabaseOptions{
      .path = directory / "corpus.db", .is_read_only = !is_writer, .vfs = options.vfs});
  bring_up_to_date(*corpus.db_, migrations());
  corpus.artefacts_ = std::make_unique<ArtefactStore>(*corpus.fs_, directory / "artefacts");
  if (is_writer) {
    corpus.fs_->create_directories(directory / "artefacts");
    corpus.jobs().release_running();
  }
  return corpus;
}

Corpus Corpus::create(const stdfs::path& directory, CorpusOptions options) {
  FileSystem& fs = options.fs != nullptr ? *options.fs : real_file_system();
  fs.create_directories(directory);
  if (!is_corpus(fs, directory)) {
    for (const std::string& name : fs.list(directory)) {
      OB_REQUIRE(name == "lock" || name == "artefacts" || name.starts_with("corpus.db"),
                 InvalidArgument, "{} already holds '{}'; a corpus needs a directory of its own",
                 directory.string(), name);
    }
    const auto lock = lock_for_writing(fs, directory);
    fs.create(directory / "corpus.db")->sync();  // mode 0600, before SQLite makes it 0644
    fs.sync_directory(directory);
  }
  options.access = Access::write;
  return open(directory, options);
}

std::optional<std::string> Corpus::setting(const std::string& key) {
  Query q = db_->query("SELECT value FROM settings WHERE key = ?1", key);
  return q.step() ? std::optional(q.string(0)) : std::nullopt;
}

void Corpus::set_setting(const std::string& key, const std::string& value) {
  db_->run(
      "INSERT INTO settings(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2",
      key, value);
}

void Corpus::drop_version(int64_t number) {
  documents().erase(number);
  contexts().drop_unused();
}

bool Corpus::remove_document(const std::string& document_id) {
  Transaction transaction(*db_);
  std::vector<int64_t> versions;
  {
    Query q = db_->query("SELECT number FROM documents WHERE id = ?1", document_id);
    while (q.step()) {
      versions.push_back(q.integer(0));
    }
  }
  for (const int64_t number : versions) {
    drop_version(number);
  }
  db_->run(
      "UPDATE adapters SET is_stale = 1 WHERE id IN "
      "(SELECT adapter FROM adapter_documents WHERE document_id = ?1)",
      document_id);
  db_->run("UPDATE examples SET is_stale = 1 WHERE document_id = ?1", document_id);
  transaction.commit();
  return !versions.empty();
}

int Corpus::drop_old_generations(int keep) {
  Transaction transaction(*db_);
  const int64_t dropped = db_->run(
      "DELETE FROM generations WHERE state IN (2, 3) AND number NOT IN "
      "(SELECT number FROM generations WHERE state = 2 ORDER BY number DESC LIMIT ?1)",
      keep);
  std::vector<int64_t> orphans;
  {
    Query q = db_->query(
        "SELECT number FROM documents WHERE number NOT IN "
        "(SELECT document FROM generation_documents)");
    while (q.step()) {
      orphans.push_back(q.integer(0));
    }
  }
  for (const int64_t number : orphans) {
    drop_version(number);
  }
  transaction.commit();
  return static_cast<int>(dropped);
}

Batch::Batch(Corpus& corpus, CommitPolicy policy, std::function<double()> seconds)
    : db_(corpus.db()), policy_(policy), seconds_(seconds ? std::move(seconds) : steady_seconds) {
  OB_REQUIRE(policy.max_seconds <= kMaxCommitSeconds && policy.max_units > 0, InvalidArgument,
             "work must become durable within {} s, not {}", kMaxCommitSeconds, policy.max_seconds);
  OB_CHECK(!db_.is_in_transaction());
  begin();
}

Batch::~Batch() {
  try {
    commit();
    db_.execute("COMMIT");
  } catch (const std::exception&) {
    try {
      if (db_.is_in_transaction()) {
        db_.execute("ROLLBACK");
      }
    } catch (const std::exception&) {
      // Closing the connection rolls back as well.
    }
  }
}

void Batch::begin() {
  db_.execute("BEGIN IMMEDIATE");
  began_ = seconds_();
  pending_ = 0;
}

void Batch::unit_done() {
  // After a full disk SQLite may have rolled back by itself; then this unit is not stored either.
  OB_REQUIRE(db_.is_in_transaction(), Io,
             "database {}: the transaction was lost, the last {} units "
             "are undone",
             db_.path(), pending_);
  ++pending_;
  if (pending_ >= policy_.max_units || seconds_() - began_ >= policy_.max_seconds) {
    commit();
  }
}

void Batch::commit() {
  db_.execute("COMMIT");
  durable_ += pending_;
  begin();
}

}  // namespace offbook::store
