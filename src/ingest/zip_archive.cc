#include "src/ingest/zip_archive.h"

#include <array>
#include <memory>

#include <archive.h>
#include <archive_entry.h>

#include "src/base/error.h"

namespace offbook::ingest {
namespace {

struct FreeArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};
using ArchivePtr = std::unique_ptr<archive, FreeArchive>;

std::string reason(archive* a) {
  const char* text = archive_error_string(a);
  return text != nullptr ? text : "unknown reason";
}

// Counts what comes out of the archive and throws at a limit.
class Budget {
 public:
  Budget(uint64_t packed_bytes, const Limits& limits) : packed_(packed_bytes), limits_(limits) {}

  void count_entry() {
    OB_REQUIRE(++entries_ <= limits_.max_archive_entries, Unsupported,
               "the archive has more than {} entries, the limit", limits_.max_archive_entries);
  }
  void count_bytes(uint64_t bytes) {
    constexpr uint64_t kRatioFrom = uint64_t{16} << 20;
    unpacked_ += bytes;
    OB_REQUIRE(
        unpacked_ <= limits_.max_archive_bytes, Unsupported,
        "the archive unpacks to more than {}, the limit; save its documents in smaller files",
        format_bytes(limits_.max_archive_bytes));
    OB_REQUIRE(unpacked_ <= kRatioFrom || unpacked_ / limits_.max_archive_ratio <= packed_,
               Unsupported,
               "the archive unpacks to more than {} times its size of {}, as only a zip bomb does; "
               "it is not read",
               limits_.max_archive_ratio, format_bytes(packed_));
  }

 private:
  uint64_t packed_;
  const Limits& limits_;
  int entries_ = 0;
  uint64_t unpacked_ = 0;
};

std::string unpack(archive* a, const std::string& name, Budget& budget) {
  std::string out;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const la_ssize_t got = archive_read_data(a, buffer.data(), buffer.size());
    OB_REQUIRE(got >= 0, Corrupt, "broken zip archive: member {}: {}", name, reason(a));
    if (got == 0) {
      return out;
    }
    budget.count_bytes(static_cast<uint64_t>(got));
    out.append(buffer.data(), static_cast<size_t>(got));
  }
}

ArchivePtr open_zip(std::span<const std::byte> bytes) {
  ArchivePtr a(archive_read_new());
  OB_REQUIRE(a != nullptr, OutOfMemory, "no memory to read a zip archive");
  archive_read_support_format_zip_seekable(a.get());
  OB_REQUIRE(archive_read_open_memory(a.get(), bytes.data(), bytes.size()) == ARCHIVE_OK, Corrupt,
             "broken zip archive: {}", reason(a.get()));
  return a;
}

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, const Limits& limits,
                       const std::function<bool(std::string_view name)>& wanted) {
  const ArchivePtr a = open_zip(bytes);
  Budget budget(bytes.size(), limits);
  for (archive_entry* entry = nullptr;;) {
    const int result = archive_read_next_header(a.get(), &entry);
    if (result == ARCHIVE_EOF) {
      break;
    }
    OB_REQUIRE(result == ARCHIVE_OK || result == ARCHIVE_WARN, Corrupt, "broken zip archive: {}",
               reason(a.get()));
    budget.count_entry();
    const char* path = archive_entry_pathname_utf8(entry);
    if (path == nullptr) {
      path = archive_entry_pathname(entry);
    }
    const std::string name = path != nullptr ? path : "";
    if (name.empty() || !wanted(name) || members_.contains(name)) {
      continue;
    }
    OB_REQUIRE(!archive_entry_is_encrypted(entry), Unsupported,
               "member {} is encrypted; save it without a password", name);
    members_.emplace(name, unpack(a.get(), name, budget));
  }
}

const std::string* ZipArchive::find(std::string_view name) const {
  const auto it = members_.find(name);
  return it == members_.end() ? nullptr : &it->second;
}

const std::string& ZipArchive::get(std::string_view name) const {
  const std::string* member = find(name);
  OB_REQUIRE(member != nullptr, Corrupt, "its archive has no member {}", name);
  return *member;
}

}  // namespace offbook::ingest
