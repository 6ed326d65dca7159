#include "src/ingest/file_bytes.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/ingest/limits.h"

namespace offbook::ingest {
namespace {

class OpenFile {
 public:
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  explicit OpenFile(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void fail(std::string_view name) {
  const int reason = errno;
  if (reason == ENOENT || reason == ENOTDIR) {
    OB_THROW(NotFound, "{}: {}", name, std::strerror(reason));
  }
  OB_THROW(Io, "{}: {}{}", name, std::strerror(reason),
           reason == EACCES ? "; make the file readable and learn again" : "");
}

}  // namespace

FileBytes read_file_bytes(const std::filesystem::path& path, std::string_view name,
                          uint64_t max_bytes) {
  const OpenFile file(path);
  struct stat st;
  if (file.get() < 0 || ::fstat(file.get(), &st) != 0) {
    fail(name);
  }
  OB_REQUIRE(S_ISREG(st.st_mode), Io, "{}: not a regular file", name);
  const auto size = static_cast<uint64_t>(st.st_size);
  OB_REQUIRE(size <= max_bytes, Unsupported,
             "{}: is {}, more than the limit of {} for one file (--max-file-bytes)", name,
             format_bytes(size), format_bytes(max_bytes));
  FileBytes out{.modified_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
  out.bytes.resize(size);
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), out.bytes.data() + done, size - done);
    if (got < 0 && errno != EINTR) {
      fail(name);
    }
    if (got == 0) {
      break;  // shorter than a moment ago
    }
    done += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  out.bytes.resize(done);
  return out;
}

}  // namespace offbook::ingest
