#include "tests/fault/sqlite_vfs.h"

#include <atomic>
#include <cstring>

#include <fmt/format.h>
#include <sqlite3.h>

#include "src/base/error.h"

namespace offbook::store {
namespace {

// What SQLite allocates for an open file; the C++ part is made and destroyed by hand.
struct OpenFile {
  sqlite3_file base;
  RandomAccessFile* file;
  MemoryFileSystem* fs;
  std::string* directory;  // to be synced with the first sync of a new log or journal; else null
};

OpenFile& of(sqlite3_file* file) {
  return *reinterpret_cast<OpenFile*>(file);
}

// No exception may reach SQLite: a full disk has a code of its own, the rest is an I/O error.
template <typename Call>
int guarded(int error, Call call) {
  try {
    return call();
  } catch (const Error& e) {
    return std::strstr(e.what(), "No space left") != nullptr ? SQLITE_FULL : error;
  }
}

int close(sqlite3_file* file) {
  delete of(file).file;
  delete of(file).directory;
  return SQLITE_OK;
}

int read(sqlite3_file* file, void* out, int n, sqlite3_int64 offset) {
  return guarded(SQLITE_IOERR_READ, [&] {
    const std::span bytes(static_cast<std::byte*>(out), static_cast<size_t>(n));
    const size_t got = of(file).file->read_at(static_cast<uint64_t>(offset), bytes);
    std::memset(bytes.data() + got, 0, bytes.size() - got);
    return got == bytes.size() ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  });
}

int write(sqlite3_file* file, const void* in, int n, sqlite3_int64 offset) {
  return guarded(SQLITE_IOERR_WRITE, [&] {
    of(file).file->write_at(static_cast<uint64_t>(offset),
                            {static_cast<const std::byte*>(in), static_cast<size_t>(n)});
    return SQLITE_OK;
  });
}

int truncate(sqlite3_file* file, sqlite3_int64 size) {
  return guarded(SQLITE_IOERR_TRUNCATE, [&] {
    of(file).file->truncate(static_cast<uint64_t>(size));
    return SQLITE_OK;
  });
}

int sync(sqlite3_file* file, int) {
  return guarded(SQLITE_IOERR_FSYNC, [&] {
    of(file).file->sync();
    if (of(file).directory != nullptr) {
      of(file).fs->sync_directory(*of(file).directory);
      delete of(file).directory;
      of(file).directory = nullptr;
    }
    return SQLITE_OK;
  });
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return guarded(SQLITE_IOERR_FSTAT, [&] {
    *size = static_cast<sqlite3_int64>(of(file).file->size_bytes());
    return SQLITE_OK;
  });
}

int no_lock(sqlite3_file*, int) {
  return SQLITE_OK;
}
int not_reserved(sqlite3_file*, int* out) {
  return *out = 0, SQLITE_OK;
}
int no_control(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int sector_size(sqlite3_file*) {
  return 4096;
}
int characteristics(sqlite3_file*) {
  return 0;
}

constexpr sqlite3_io_methods kMethods = {
    1,       close,   read,         write,      truncate,    sync,           file_size,
    no_lock, no_lock, not_reserved, no_control, sector_size, characteristics};

MemoryFileSystem& fs_of(sqlite3_vfs* vfs) {
  return *static_cast<MemoryFileSystem*>(vfs->pAppData);
}

int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  of(file) = {};
  return guarded(SQLITE_CANTOPEN, [&] {
    MemoryFileSystem& fs = fs_of(vfs);
    const bool is_new = !fs.stat(name);
    of(file).file = fs.open_random(name, (flags & SQLITE_OPEN_CREATE) != 0).release();
    of(file).fs = &fs;
    // As SQLite's own unix files: the name of a log or journal is synced with its first content.
    if (is_new && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0) {
      of(file).directory = new std::string(std::filesystem::path(name).parent_path());
    }
    of(file).base.pMethods = &kMethods;
    if (out_flags != nullptr) {
      *out_flags = flags;
    }
    return SQLITE_OK;
  });
}

int remove(sqlite3_vfs* vfs, const char* name, int sync_directory) {
  return guarded(SQLITE_IOERR_DELETE, [&] {
    MemoryFileSystem& fs = fs_of(vfs);
    if (!fs.stat(name)) {
      return SQLITE_IOERR_DELETE_NOENT;
    }
    fs.remove(name);
    if (sync_directory != 0) {
      fs.sync_directory(std::filesystem::path(name).parent_path());
    }
    return SQLITE_OK;
  });
}

int access(sqlite3_vfs* vfs, const char* name, int, int* out) {
  const auto info = fs_of(vfs).stat(name);
  *out = info && (info->is_directory || info->size_bytes > 0) ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  return sqlite3_snprintf(size, out, "%s", name), SQLITE_OK;
}

}  // namespace

struct MemoryVfs::State {
  std::string name;
  sqlite3_vfs vfs{};
};

MemoryVfs::MemoryVfs(MemoryFileSystem& fs) : state_(std::make_unique<State>()) {
  static std::atomic<int> number{0};
  state_->name = fmt::format("offbook_memory_{}", ++number);
  sqlite3_vfs& vfs = state_->vfs;
  vfs = *sqlite3_vfs_find(nullptr);  // time and randomness stay the system's
  vfs.iVersion = 1;
  vfs.szOsFile = sizeof(OpenFile);
  vfs.pNext = nullptr;
  vfs.zName = state_->name.c_str();
  vfs.pAppData = &fs;
  vfs.xOpen = open;
  vfs.xDelete = remove;
  vfs.xAccess = access;
  vfs.xFullPathname = full_path;
  sqlite3_vfs_register(&vfs, 0);
}

MemoryVfs::~MemoryVfs() {
  sqlite3_vfs_unregister(&state_->vfs);
}

const std::string& MemoryVfs::name() const {
  return state_->name;
}

}  // namespace offbook::store
