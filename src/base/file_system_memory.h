// A file system in memory that forgets what was not synced, fills up and fails when told to.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "src/base/file_system.h"

namespace offbook {

// A file read and written at any offset. Same errors and durability as WritableFile.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;
  // Bytes read, fewer than asked only at the end of the file.
  virtual size_t read_at(uint64_t offset, std::span<std::byte> out) = 0;
  virtual void write_at(uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void truncate(uint64_t size_bytes) = 0;
  virtual void sync() = 0;
  virtual uint64_t size_bytes() = 0;
};

// What goes wrong. Operations are counted from the start (MemoryFileSystem::operations()); only
// those that change something count: create, append, write, truncate, sync, rename, remove,
// directory.
struct MemoryFaults {
  std::optional<uint64_t> fail_at;  // this operation throws Io …
  bool fail_ever_after = false;     // … and, if set, all that follow: the power is gone
  uint64_t capacity_bytes = std::numeric_limits<uint64_t>::max();
  bool read_only = false;
  bool sync_lies = false;  // says that it did, and did not: a disk whose cache forgets
};

// Content and names are volatile until WritableFile::sync() and sync_directory(). power_cut() then
// keeps, per seed, any subset of the unsynced 512-byte sectors, size changes, new names, renames
// and removals, as a disk with a write cache and a journal of its own may; what was synced stays.
// Made directories are durable at once (FileSystem::create_directories). Thread-safe.
class MemoryFileSystem final : public FileSystem {
 public:
  MemoryFileSystem();
  ~MemoryFileSystem() override;

  void set_faults(MemoryFaults faults);
  uint64_t operations() const;  // that changed something, so far
  // Loses what `seed` decides; every open handle and lock is dead afterwards (Io).
  // Clears the faults.
  void power_cut(uint64_t seed);
  // NotFound unless `create`.
  std::unique_ptr<RandomAccessFile> open_random(const std::filesystem::path& path, bool create);

  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override;
  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override;
  std::optional<FileInfo> stat(const std::filesystem::path& path) override;
  std::vector<std::string> list(const std::filesystem::path& directory) override;
  void create_directories(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void remove(const std::filesystem::path& path) override;
  void sync_directory(const std::filesystem::path& path) override;
  uint64_t free_bytes(const std::filesystem::path& path) override;
  std::unique_ptr<FileLock> try_lock(const std::filesystem::path& path,
                                     std::string_view note) override;

 private:
  struct Node;
  struct NameChange;
  class Handle;
  class Lock;
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  void begin_change(std::string_view operation, const std::string& path);
  void write(Node& node, uint64_t offset, std::span<const std::byte> bytes);
  uint64_t used_bytes() const;
  void require_directory(const std::string& path) const;
  static void apply(const NameChange& change, Names& names);
  void change_name(NameChange change);

  mutable std::mutex mutex_;
  Names names_;    // as seen by the program; directories have a null node
  Names durable_;  // as on disk
  std::vector<NameChange> pending_;
  std::set<std::string> locked_;
  MemoryFaults faults_;
  uint64_t operations_ = 0;
  uint64_t epoch_ = 0;  // number of power cuts
  uint64_t next_inode_ = 1;
};

}  // namespace offbook
