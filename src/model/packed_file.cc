#include "src/model/packed_file.h"

#include <cstring>

#include <xxhash.h>

#include "src/base/error.h"

namespace offbook::model {
namespace {

constexpr char kMagic[8] = {'O', 'B', 'P', 'A', 'C', 'K', 'E', 'D'};
// Raised whenever the same weights would pack to other bytes than before.
constexpr uint32_t kVersion = 1;
constexpr size_t kAlign = 64;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t entries;
  uint64_t bytes;     // of the whole file
  uint64_t checksum;  // XXH3-64 of everything behind the header
  char fingerprint[32];
};
static_assert(sizeof(Header) == 64);

struct Entry {
  uint32_t dtype;
  uint32_t reserved;
  uint64_t panels;
  uint64_t panel_bytes;
  uint64_t offset;  // from the file's first byte, a multiple of 64
};
static_assert(sizeof(Entry) == 32);

size_t aligned(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

void write_packed(FileSystem& fs, const std::filesystem::path& path, const std::string& fingerprint,
                  std::span<const ops::PackedMatrix* const> matrices) {
  std::vector<const ops::PackedPart*> parts;
  for (const ops::PackedMatrix* matrix : matrices) {
    for (const ops::PackedPart& part : matrix->parts) {
      parts.push_back(&part);
    }
  }
  size_t end = aligned(sizeof(Header) + parts.size() * sizeof(Entry));
  std::vector<Entry> entries;
  for (const ops::PackedPart* part : parts) {
    entries.push_back({.dtype = static_cast<uint32_t>(part->dtype),
                       .reserved = 0,
                       .panels = static_cast<uint64_t>(part->panels.dim(0)),
                       .panel_bytes = static_cast<uint64_t>(part->panels.dim(1)),
                       .offset = end});
    end = aligned(end + static_cast<size_t>(part->panels.bytes()));
  }
  std::vector<std::byte> bytes(end);
  std::memcpy(bytes.data() + sizeof(Header), entries.data(), entries.size() * sizeof(Entry));
  for (size_t i = 0; i < parts.size(); ++i) {
    std::memcpy(bytes.data() + entries[i].offset, parts[i]->panels.raw(),
                static_cast<size_t>(parts[i]->panels.bytes()));
  }
  Header header{.version = kVersion,
                .entries = static_cast<uint32_t>(entries.size()),
                .bytes = end,
                .checksum = XXH3_64bits(bytes.data() + sizeof(Header), end - sizeof(Header))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  OB_REQUIRE(fingerprint.size() == sizeof(header.fingerprint), InvalidArgument,
             "a fingerprint has 32 digits, not {}", fingerprint.size());
  std::memcpy(header.fingerprint, fingerprint.data(), fingerprint.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  write_file_atomically(fs, path, bytes);
}

PackedReader::PackedReader(FileSystem& fs, const std::filesystem::path& path,
                           const std::string& fingerprint)
    : where_(path.string()), file_(fs.open(path)) {
  const std::span<const std::byte> bytes = file_->bytes();
  OB_REQUIRE(bytes.size() >= sizeof(Header), Corrupt, "{}: {} bytes are no header", where_,
             bytes.size());
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  OB_REQUIRE(std::memcmp(header.magic, kMagic, sizeof(kMagic)) == 0, Corrupt,
             "{}: not a file of packed weights", where_);
  OB_REQUIRE(header.version == kVersion, Unsupported, "{}: version {}, not {}", where_,
             header.version, kVersion);
  OB_REQUIRE(header.bytes == bytes.size() &&
                 header.entries <= (bytes.size() - sizeof(Header)) / sizeof(Entry),
             Corrupt, "{}: {} bytes with {} entries, the header says {}", where_, bytes.size(),
             header.entries, header.bytes);
  OB_REQUIRE(std::string_view(header.fingerprint, sizeof(header.fingerprint)) == fingerprint,
             Corrupt, "{}: packed from another model", where_);
  OB_REQUIRE(
      header.checksum == XXH3_64bits(bytes.data() + sizeof(Header), bytes.size() - sizeof(Header)),
      Corrupt, "{}: the checksum does not fit", where_);
  entries_ = header.entries;
}

ops::PackedPart PackedReader::part(Dtype dtype, int64_t panels, int64_t cols) {
  OB_REQUIRE(entry_ < entries_, Corrupt, "{}: {} entries are too few", where_, entries_);
  const std::span<const std::byte> bytes = file_->bytes();
  Entry entry;
  std::memcpy(&entry, bytes.data() + sizeof(Header) + entry_ * sizeof(Entry), sizeof(entry));
  ++entry_;
  ops::PackedPart out{.dtype = dtype, .form = ops::panel_form(dtype)};
  const auto panel_bytes = static_cast<uint64_t>(out.form.panel_bytes(cols));
  const uint64_t size = static_cast<uint64_t>(panels) * panel_bytes;
  OB_REQUIRE(entry.dtype == static_cast<uint32_t>(dtype) &&
                 entry.panels == static_cast<uint64_t>(panels) &&
                 entry.panel_bytes == panel_bytes && entry.offset % kAlign == 0 &&
                 entry.offset <= bytes.size() && size <= bytes.size() - entry.offset,
             Corrupt, "{}: entry {} is not what the weights pack to", where_, entry_ - 1);
  out.panels =
      Tensor(Storage::borrow(bytes.data() + entry.offset, static_cast<size_t>(size), file_),
             Dtype::u8, {panels, static_cast<int64_t>(panel_bytes)});
  return out;
}

ops::PackedMatrix PackedReader::next(std::span<const Tensor> weights, PackedOrder order) {
  ops::PackedMatrix out{.cols = weights[0].dim(1)};
  const int64_t each = weights[0].dim(0) / ops::kPanelRows;
  if (order == PackedOrder::alternating) {
    out.parts.push_back(part(weights[0].dtype(), 2 * each, out.cols));
    out.rows = 2 * weights[0].dim(0);
    return out;
  }
  for (const Tensor& w : weights) {
    out.parts.push_back(part(w.dtype(), w.dim(0) / ops::kPanelRows, out.cols));
    out.rows += w.dim(0);
  }
  return out;
}

}  // namespace offbook::model
