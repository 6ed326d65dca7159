// SQLite behind RAII: connection, cached statements, nested transactions, errors with codes.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace offbook::store {

class Database;

// A running statement; goes back to the connection's cache when destroyed. Columns count from 0.
// text and blob views live until the next step(). Not thread-safe, must not outlive the Database.
class Query {
 public:
  Query(Database& db, std::string sql, sqlite3_stmt* statement)
      : db_(&db), sql_(std::move(sql)), statement_(statement) {}
  Query(Query&& other) noexcept;
  Query& operator=(Query&&) = delete;
  ~Query();

  // False at the end. Throws what the statement fails with.
  bool step();
  int64_t integer(int column) const;
  double real(int column) const;
  std::string_view text(int column) const;
  std::span<const std::byte> blob(int column) const;
  bool is_null(int column) const;
  // Absent for NULL.
  std::optional<int64_t> optional_integer(int column) const;
  std::string string(int column) const { return std::string(text(column)); }

  void bind(int index, int64_t value);
  void bind(int index, int value) { bind(index, int64_t{value}); }
  void bind(int index, uint64_t value) { bind(index, static_cast<int64_t>(value)); }
  void bind(int index, bool value) { bind(index, int64_t{value}); }
  void bind(int index, double value);
  void bind(int index, std::string_view value);
  void bind(int index, const std::string& value) { bind(index, std::string_view(value)); }
  void bind(int index, const char* value) { bind(index, std::string_view(value)); }
  void bind(int index, std::span<const std::byte> value);
  void bind(int index, const std::vector<std::byte>& value) { bind(index, std::span(value)); }
  void bind(int index, std::nullptr_t);
  template <typename T>
  void bind(int index, const std::optional<T>& value) {
    value ? bind(index, *value) : bind(index, nullptr);
  }
  sqlite3_stmt* raw() const noexcept { return statement_; }

 private:
  Database* db_;
  std::string sql_;
  sqlite3_stmt* statement_;
};

struct DatabaseOptions {
  std::filesystem::path path;
  bool is_read_only = false;
  bool create = false;
  int busy_ms = 10'000;  // how long to wait for another process's short lock
  // Name of a registered SQLite VFS; empty = the operating system's files. With another VFS the
  // database is locked exclusively, since shared memory is then not available.
  std::string vfs;
};

// One connection. Not thread-safe: each thread opens its own. Errors: Corrupt (damage, or no
// database at all), Io (disk full, not writable, busy), Cancelled (interrupt), OutOfMemory.
class Database {
 public:
  explicit Database(const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Statements without parameters, separated by ';'.
  void execute(const std::string& sql);
  // Values are bound by copy in order, to ?1, ?2, …
  template <typename... Values>
  Query query(std::string sql, const Values&... values) {
    Query query = prepare(std::move(sql));
    int index = 0;
    (query.bind(++index, values), ...);
    return query;
  }
  // A statement without rows; returns how many rows it changed.
  template <typename... Values>
  int64_t run(std::string sql, const Values&... values) {
    query(std::move(sql), values...).step();
    return changes();
  }
  // First column of the first row; absent without a row or for NULL.
  template <typename... Values>
  std::optional<int64_t> integer(std::string sql, const Values&... values) {
    Query q = query(std::move(sql), values...);
    return q.step() ? q.optional_integer(0) : std::nullopt;
  }

  int64_t changes() const noexcept;
  int64_t last_row_id() const noexcept;
  bool is_in_transaction() const noexcept;
  bool is_read_only() const noexcept { return is_read_only_; }
  // Changes whenever another connection committed.
  int64_t data_version() { return *integer("PRAGMA data_version"); }
  // Makes running statements end with Cancelled; may be called from any thread.
  void interrupt() noexcept;
  const std::string& path() const noexcept { return path_; }
  sqlite3* raw() const noexcept { return db_; }
  [[noreturn]] void fail(int code, std::string_view operation) const;

 private:
  friend class Query;
  Query prepare(std::string sql);
  void give_back(std::string sql, sqlite3_stmt* statement) noexcept;
  void close() noexcept;

  sqlite3* db_ = nullptr;
  std::string path_;
  bool is_read_only_;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>> idle_;
};

// A transaction, or inside another one a savepoint: all of it or nothing. Rolled back unless
// committed. Durable when the outermost commit() returned.
class Transaction {
 public:
  explicit Transaction(Database& db);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& db_;
  bool is_outermost_;
  bool is_open_ = true;
};

}  // namespace offbook::store
