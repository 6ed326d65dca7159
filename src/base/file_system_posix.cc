#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/file_system.h"

namespace offbook {
namespace {

namespace stdfs = std::filesystem;

std::string_view advice(int reason) {
  switch (reason) {
    case ENOSPC:
    case EDQUOT:
      return " (free some space and run the same command again; nothing done is lost)";
    case EACCES:
    case EPERM:
    case EROFS:
      return " (change its permissions, or name another place)";
    case ENOMEM:
      return " (free some memory, or take a smaller model)";
    default:
      return "";
  }
}

[[noreturn]] void fail(std::string_view operation, const stdfs::path& path) {
  const int reason = errno;
  const std::string message =
      fmt::format("{} {}: {}{}", operation, path.string(), std::strerror(reason), advice(reason));
  if (reason == ENOENT || reason == ENOTDIR) {
    OB_THROW(NotFound, "{}", message);
  }
  if (reason == ENOMEM) {
    OB_THROW(OutOfMemory, "{}", message);
  }
  OB_THROW(Io, "{}", message);
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(int fd, stdfs::path path) : fd_(fd), path_(std::move(path)) {}

  void append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) {
          continue;
        }
        fail("write", path_);
      }
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void sync() override {
    if (::fsync(fd_.get()) != 0) {
      fail("sync", path_);
    }
  }

 private:
  FileDescriptor fd_;
  stdfs::path path_;
};

class MappedFile final : public ReadableFile {
 public:
  MappedFile(void* address, size_t size) noexcept : address_(address), size_(size) {}
  ~MappedFile() override {
    if (size_ > 0) {
      ::munmap(address_, size_);
    }
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const noexcept override {
    return {static_cast<const std::byte*>(address_), size_};
  }

 private:
  void* address_;
  size_t size_;
};

// flock: the system lets go of it when the process dies, so no lock is ever stale.
class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(int fd) : fd_(fd) {}

 private:
  FileDescriptor fd_;
};

FileInfo to_info(const struct stat& st) {
  return {.size_bytes = static_cast<uint64_t>(st.st_size),
          .modified_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec,
          .inode = st.st_ino,
          .is_directory = S_ISDIR(st.st_mode),
          .is_symlink = S_ISLNK(st.st_mode)};
}

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<ReadableFile> open(const stdfs::path& path) override {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) {
      fail("open", path);
    }
    struct stat st;
    if (::fstat(fd.get(), &st) != 0) {
      fail("stat", path);
    }
    OB_REQUIRE(S_ISREG(st.st_mode), Io, "open {}: not a regular file", path.string());
    const auto size = static_cast<size_t>(st.st_size);
    if (size == 0) {
      return std::make_unique<MappedFile>(nullptr, 0);
    }
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) {
      fail("map", path);
    }
    return std::make_unique<MappedFile>(address, size);
  }

  std::unique_ptr<WritableFile> create(const stdfs::path& path) override {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
      fail("create", path);
    }
    return std::make_unique<PosixWritableFile>(fd, path);
  }

  std::optional<FileInfo> stat(const stdfs::path& path) override {
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) {
        return std::nullopt;
      }
      fail("stat", path);
    }
    FileInfo info = to_info(st);
    if (info.is_symlink && ::stat(path.c_str(), &st) == 0) {
      info = to_info(st);
      info.is_symlink = true;
    }
    return info;
  }

  std::vector<std::string> list(const stdfs::path& directory) override {
    std::vector<std::string> names;
    std::error_code ec;
    for (stdfs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
      names.push_back(it->path().filename().string());
    }
    if (ec) {
      errno = ec.value();
      fail("list", directory);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  void create_directories(const stdfs::path& path) override {
    for (stdfs::path at; const stdfs::path& part : path) {
      at /= part;
      if (::mkdir(at.c_str(), 0700) == 0) {
        sync_directory(at.has_parent_path() ? at.parent_path() : stdfs::path("."));
      } else if (errno != EEXIST && errno != EISDIR) {
        fail("create directory", at);
      }
    }
    const auto info = stat(path);
    OB_REQUIRE(info && info->is_directory, Io, "create directory {}: a file stands there",
               path.string());
  }

  void rename(const stdfs::path& from, const stdfs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      fail("rename", from);
    }
  }

  void remove(const stdfs::path& path) override {
    if (::remove(path.c_str()) != 0) {
      fail("remove", path);
    }
  }

  void sync_directory(const stdfs::path& path) override {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0 || ::fsync(fd.get()) != 0) {
      fail("sync directory", path);
    }
  }

  uint64_t free_bytes(const stdfs::path& path) override {
    struct statvfs st;
    if (::statvfs(path.c_str(), &st) != 0) {
      fail("free space of", path);
    }
    return uint64_t{st.f_bavail} * st.f_frsize;
  }

  std::unique_ptr<FileLock> try_lock(const stdfs::path& path, std::string_view note) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
      fail("lock", path);
    }
    auto lock = std::make_unique<PosixFileLock>(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        return nullptr;
      }
      fail("lock", path);
    }
    // The note only serves the message of whoever is refused: a full disk may leave it empty.
    if (::ftruncate(fd, 0) == 0) {
      [[maybe_unused]] const ssize_t written = ::write(fd, note.data(), note.size());
    }
    return lock;
  }
};

}  // namespace

FileSystem& real_file_system() {
  static PosixFileSystem fs;
  return fs;
}

}  // namespace offbook
