#include "src/store/sqlite.h"

#include <sqlite3.h>

namespace offbook::store {
namespace {

ErrorCode code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::Corrupt;
    case SQLITE_NOMEM:
      return ErrorCode::OutOfMemory;
    case SQLITE_INTERRUPT:
      return ErrorCode::Cancelled;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
      return ErrorCode::InvalidArgument;
    default:
      return ErrorCode::Io;
  }
}

std::string_view advice(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return " (another process is using the corpus; wait for it or stop it)";
    case SQLITE_FULL:
      return " (free some space and run the same command again; nothing done is lost)";
    case SQLITE_READONLY:
      return " (opened for reading, or the folder cannot be written)";
    case SQLITE_CANTOPEN:
      return " (the folder must be readable, and writable for SQLite's -wal and -shm files)";
    case SQLITE_CORRUPT:
      return " (run `offbook check --repair`)";
    case SQLITE_NOTADB:
      return " (it was overwritten; learn the folder again into a corpus of another name)";
    default:
      return "";
  }
}

}  // namespace

Query::Query(Query&& other) noexcept
    : db_(other.db_), sql_(std::move(other.sql_)), statement_(other.statement_) {
  other.statement_ = nullptr;
}

Query::~Query() {
  if (statement_ != nullptr) {
    db_->give_back(std::move(sql_), statement_);
  }
}

bool Query::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code != SQLITE_DONE) {
    db_->fail(code, sql_.substr(0, sql_.find('(')));
  }
  return false;
}

int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
double Query::real(int column) const {
  return sqlite3_column_double(statement_, column);
}

std::string_view Query::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  const int bytes = sqlite3_column_bytes(statement_, column);
  return text == nullptr ? std::string_view() : std::string_view(text, static_cast<size_t>(bytes));
}

std::span<const std::byte> Query::blob(int column) const {
  const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Query::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::optional<int64_t> Query::optional_integer(int column) const {
  return is_null(column) ? std::nullopt : std::optional(integer(column));
}

void Query::bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
}
void Query::bind(int index, double value) {
  sqlite3_bind_double(statement_, index, value);
}
void Query::bind(int index, std::nullptr_t) {
  sqlite3_bind_null(statement_, index);
}

void Query::bind(int index, std::string_view value) {
  const int code = sqlite3_bind_text64(statement_, index, value.data() ? value.data() : "",
                                       value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) {
    db_->fail(code, "bind a text");
  }
}

void Query::bind(int index, std::span<const std::byte> value) {
  const int code = sqlite3_bind_blob64(statement_, index,
                                       value.data() ? static_cast<const void*>(value.data()) : "",
                                       value.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) {
    db_->fail(code, "bind a blob");
  }
}

Database::Database(const DatabaseOptions& options)
    : path_(options.path.string()), is_read_only_(options.is_read_only) {
  const int flags = (is_read_only_ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                    (options.create ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path_.c_str(), &db_, flags,
                                   options.vfs.empty() ? nullptr : options.vfs.c_str());
  try {
    if (code != SQLITE_OK) {
      fail(code, "open");
    }
    sqlite3_busy_timeout(db_, options.busy_ms);
    if (!options.vfs.empty()) {
      execute("PRAGMA locking_mode = EXCLUSIVE");
    }
    // 64 MiB of cache, meant to hold a commit batch of ingest.
    execute("PRAGMA foreign_keys = ON; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY");
    if (!is_read_only_) {
      execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    }
  } catch (...) {
    close();
    throw;
  }
}

Database::~Database() {
  close();
}

void Database::close() noexcept {
  for (auto& [sql, statements] : idle_) {
    for (sqlite3_stmt* statement : statements) {
      sqlite3_finalize(statement);
    }
  }
  idle_.clear();
  sqlite3_close_v2(db_);
  db_ = nullptr;
}

void Database::fail(int code, std::string_view operation) const {
  const std::string reason = db_ != nullptr ? sqlite3_errmsg(db_) : sqlite3_errstr(code);
  throw Error(code_of(code),
              fmt::format("database {}: {}: {}{}", path_, operation, reason, advice(code)),
              __FILE__, __LINE__);
}

void Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    fail(code, sql.substr(0, sql.find_first_of("(;")));
  }
}

Query Database::prepare(std::string sql) {
  auto& idle = idle_[sql];
  if (!idle.empty()) {
    sqlite3_stmt* statement = idle.back();
    idle.pop_back();
    return Query(*this, std::move(sql), statement);
  }
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(db_, sql.c_str(), static_cast<int>(sql.size() + 1),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) {
    fail(code, sql.substr(0, sql.find('(')));
  }
  return Query(*this, std::move(sql), statement);
}

void Database::give_back(std::string sql, sqlite3_stmt* statement) noexcept {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  try {
    idle_[sql].push_back(statement);
  } catch (...) {
    sqlite3_finalize(statement);
  }
}

int64_t Database::changes() const noexcept {
  return sqlite3_changes64(db_);
}
int64_t Database::last_row_id() const noexcept {
  return sqlite3_last_insert_rowid(db_);
}
bool Database::is_in_transaction() const noexcept {
  return sqlite3_get_autocommit(db_) == 0;
}
void Database::interrupt() noexcept {
  sqlite3_interrupt(db_);
}

Transaction::Transaction(Database& db) : db_(db), is_outermost_(!db.is_in_transaction()) {
  db_.execute(is_outermost_ ? "BEGIN IMMEDIATE" : "SAVEPOINT part");
}

Transaction::~Transaction() {
  // After a full disk SQLite may have rolled back all by itself.
  if (!is_open_ || !db_.is_in_transaction()) {
    return;
  }
  try {
    db_.execute(is_outermost_ ? "ROLLBACK" : "ROLLBACK TO part; RELEASE part");
  } catch (const Error&) {
    // The failure that led here is on its way up and says more.
  }
}

void Transaction::commit() {
  db_.execute(is_outermost_ ? "COMMIT" : "RELEASE part");
  is_open_ = false;
}

}  // namespace offbook::store
