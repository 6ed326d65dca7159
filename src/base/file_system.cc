#include "src/base/file_system.h"

#include <atomic>

#include <fmt/format.h>
#include <unistd.h>

#include "src/base/error.h"

namespace offbook {

void write_file_atomically(FileSystem& fs, const std::filesystem::path& path,
                           std::span<const std::byte> bytes) {
  static std::atomic<uint64_t> number{0};  // only makes names differ; holds no state
  std::filesystem::path beside = path;
  beside += fmt::format(".{}-{}{}", ::getpid(), ++number, kTemporarySuffix);
  try {
    {
      auto file = fs.create(beside);
      file->append(bytes);
      file->sync();
    }
    fs.rename(beside, path);
  } catch (const Error&) {
    try {
      fs.remove(beside);
    } catch (const Error&) {
      // The first failure is the one to tell; a file left beside is found by `offbook check`.
    }
    throw;
  }
  fs.sync_directory(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace offbook
