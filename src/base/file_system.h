// The operating system's files behind one small interface, so that tests can run the store on a
// file system that fails, fills up or loses what was not synced.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook {

struct FileInfo {
  uint64_t size_bytes = 0;
  int64_t modified_ns = 0;  // since the epoch
  uint64_t inode = 0;
  bool is_directory = false;
  bool is_symlink = false;
};

// A file that is being written. Nothing is promised to be on disk before sync() returned.
// Not thread-safe. The destructor closes and never throws.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void append(std::span<const std::byte> bytes) = 0;  // Io when the disk is full or broken
  virtual void sync() = 0;
};

// Bytes of a whole file, read-only, valid as long as this lives; mapped where the system can.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual std::span<const std::byte> bytes() const noexcept = 0;
};

// A lock on a file, held until destroyed or until the process dies, however it dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Thread-safe. Errors: NotFound (no such file), Io (everything else), with path and the system's
// reason.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) = 0;
  // Creates or truncates; mode 0600.
  virtual std::unique_ptr<WritableFile> create(const std::filesystem::path& path) = 0;
  virtual std::optional<FileInfo> stat(const std::filesystem::path& path) = 0;
  // Names (not paths) in a directory, sorted.
  virtual std::vector<std::string> list(const std::filesystem::path& directory) = 0;
  // Makes all that are missing, mode 0700; they are durable when this returns.
  virtual void create_directories(const std::filesystem::path& path) = 0;
  // Atomically replaces `to`; durable after sync_directory of its parent.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual void remove(const std::filesystem::path& path) = 0;
  virtual void sync_directory(const std::filesystem::path& path) = 0;
  virtual uint64_t free_bytes(const std::filesystem::path& path) = 0;
  // Locks `path` (made if missing) against every other caller, in this process or another, and
  // writes `note` into it for whoever is refused. Null when someone else holds it.
  virtual std::unique_ptr<FileLock> try_lock(const std::filesystem::path& path,
                                             std::string_view note) = 0;
};

// The real one (POSIX). Lives as long as the program.
FileSystem& real_file_system();

// What files being written are called until they are renamed: "<name>.<process>-<number>.tmp".
inline constexpr std::string_view kTemporarySuffix = ".tmp";

// Writes beside `path` under a name no other writer uses, syncs, renames over it, syncs the
// directory: readers see the old or the new content, also after a power cut. A failure leaves the
// old content and removes what was written beside it.
void write_file_atomically(FileSystem& fs, const std::filesystem::path& path,
                           std::span<const std::byte> bytes);

}  // namespace offbook
