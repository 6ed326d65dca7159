#include "src/model/import/gguf.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "src/base/checked_math.h"
#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/model/import/byte_reader.h"

namespace offbook::model {
namespace {

constexpr uint64_t kMaxKeyBytes = 65'535;  // the format's own limit
constexpr uint64_t kMaxTensorNameBytes = 1'024;
constexpr uint64_t kMaxAlignment = 65'536;
// The fewest bytes one of them can take: counts are held against these before memory is reserved.
constexpr uint64_t kMinEntryBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// Walks `count` elements; strings have no fixed size, so each length is checked here once and
// find_strings() may trust them.
std::span<const std::byte> take_elements(ByteReader& in, GgufType type, uint64_t count,
                                         std::string_view field) {
  if (type != GgufType::string) {
    return in.take(checked_mul(count, *gguf_type_bytes(type), field), field);
  }
  ByteReader ahead = in;
  for (uint64_t i = 0; i < count; ++i) {
    ahead.read_string(field);
  }
  return in.take(ahead.offset() - in.offset(), field);
}

void check_known(const std::string& file, const GgufEntry& entry, GgufType type, uint64_t at) {
  OB_REQUIRE(gguf_type_bytes(type).has_value(), Corrupt,
             "{}: metadata {} at offset {}: {} is no value type of GGUF", file,
             printable(entry.key), at, gguf_type_name(type));
}

GgufEntry read_entry(ByteReader& in, const std::string& file) {
  GgufEntry entry;
  entry.key = in.read_string("metadata key", kMaxKeyBytes);
  const std::string field = "metadata " + printable(entry.key);
  const uint64_t at = in.offset();
  OB_REQUIRE(!entry.key.empty(), Corrupt, "{}: metadata key before offset {} is empty", file, at);
  entry.type = static_cast<GgufType>(in.read<uint32_t>(field));
  check_known(file, entry, entry.type, at);
  entry.element = entry.type;
  if (entry.type == GgufType::array) {
    entry.element = static_cast<GgufType>(in.read<uint32_t>(field));
    check_known(file, entry, entry.element, at + 4);
    OB_REQUIRE(entry.element != GgufType::array, Unsupported,
               "{}: {} at offset {}: arrays of arrays are not read", file, field, at);
    entry.count = in.read<uint64_t>(field);
    const uint64_t least = entry.element == GgufType::string ? 8 : *gguf_type_bytes(entry.element);
    OB_REQUIRE(entry.count <= in.remaining() / least, Corrupt,
               "{}: {} at offset {}: {} elements of {} do not fit the {} bytes that remain; the "
               "file is cut short or no model",
               file, field, at, entry.count, gguf_type_name(entry.element), in.remaining());
  }
  entry.offset = in.offset();
  entry.payload = take_elements(in, entry.element, entry.count, field);
  return entry;
}

Shape read_shape(ByteReader& in, const std::string& file, const std::string& field) {
  const uint64_t at = in.offset();
  const auto rank = in.read<uint32_t>(field);
  OB_REQUIRE(rank >= 1 && rank <= kGgufMaxRank, Corrupt,
             "{}: {} at offset {}: rank {}, wanted 1 to {}", file, field, at, rank, kGgufMaxRank);
  std::array<int64_t, kGgufMaxRank> dims{};
  uint64_t elems = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto size = in.read<uint64_t>(field);
    OB_REQUIRE(size >= 1 && size <= INT64_MAX, Corrupt, "{}: {} at offset {}: axis {} has size {}",
               file, field, in.offset() - 8, i, size);
    elems = checked_mul(elems, size, field);
    dims[rank - 1 - i] = static_cast<int64_t>(size);
  }
  OB_REQUIRE(elems <= INT64_MAX, Corrupt, "{}: {} at offset {}: {} elements", file, field, at,
             elems);
  return Shape(std::span<const int64_t>(dims.data(), rank));
}

uint64_t tensor_bytes(const std::string& file, const std::string& field, Dtype dtype,
                      const Shape& shape) {
  const DtypeInfo& info = dtype_info(dtype);
  const auto block = info.block_elems;
  OB_REQUIRE(shape[-1] % block == 0, Corrupt,
             "{}: {}: rows of {} values do not fill whole {} blocks of {}", file, field, shape[-1],
             info.name, block);
  return checked_mul(static_cast<uint64_t>(shape.numel() / block),
                     static_cast<uint64_t>(info.block_bytes), field);
}

// The offset is left relative to the data section, whose place is known after all infos.
GgufTensorInfo read_tensor_info(ByteReader& in, const std::string& file) {
  GgufTensorInfo info;
  info.name = in.read_string("tensor name", kMaxTensorNameBytes);
  const std::string field = "tensor " + printable(info.name);
  OB_REQUIRE(!info.name.empty(), Corrupt, "{}: tensor name before offset {} is empty", file,
             in.offset());
  info.shape = read_shape(in, file, field);
  info.ggml_type = in.read<uint32_t>(field);
  info.dtype = dtype_of_ggml(info.ggml_type);
  info.offset = in.read<uint64_t>(field);
  if (info.dtype) {
    info.bytes = tensor_bytes(file, field, *info.dtype, info.shape);
  }
  return info;
}

uint32_t read_version(ByteReader& in, const std::string& file) {
  const auto magic = in.read<uint32_t>("magic");
  OB_REQUIRE(magic == kGgufMagic, Corrupt,
             "{}: not a GGUF file: magic at offset 0 is {:#010x}, wanted {:#010x}", file, magic,
             kGgufMagic);
  const auto version = in.read<uint32_t>("version");
  OB_REQUIRE((version & 0xffff) != 0, Unsupported,
             "{}: version at offset 4: a big-endian GGUF file", file);
  OB_REQUIRE(version == 2 || version == 3, Unsupported,
             "{}: version at offset 4: GGUF version {}, this build reads 2 and 3", file, version);
  return version;
}

uint64_t read_count(ByteReader& in, const std::string& file, std::string_view field,
                    uint64_t least_bytes) {
  const uint64_t at = in.offset();
  const auto count = in.read<uint64_t>(field);
  OB_REQUIRE(count <= in.remaining() / least_bytes, Corrupt,
             "{}: {} at offset {}: {} cannot fit the {} bytes that remain; the file is cut short "
             "or no model",
             file, field, at, count, in.remaining());
  return count;
}

// Sorts by the name member and refuses equal neighbours: O(n log n) whatever the names are, where a
// hash table could be flooded.
template <typename Item>
void sort_unique(std::vector<Item>& items, std::string_view Item::*name, const std::string& file,
                 std::string_view what) {
  std::sort(items.begin(), items.end(),
            [&](const Item& a, const Item& b) { return a.*name < b.*name; });
  const auto twice = std::adjacent_find(
      items.begin(), items.end(), [&](const Item& a, const Item& b) { return a.*name == b.*name; });
  OB_REQUIRE(twice == items.end(), Corrupt, "{}: {} {} is there twice", file, what,
             printable((*twice).*name));
}

template <typename Item>
const Item* find_sorted(std::span<const Item> items, std::string_view Item::*name,
                        std::string_view key) {
  const auto it = std::lower_bound(items.begin(), items.end(), key,
                                   [&](const Item& a, std::string_view k) { return a.*name < k; });
  return it != items.end() && (*it).*name == key ? &*it : nullptr;
}

}  // namespace

Tensor view_tensor(const std::shared_ptr<Storage>& file, Dtype dtype, const Shape& shape,
                   uint64_t offset) {
  const Tensor view(file, dtype, shape, offset);
  const DtypeInfo& info = dtype_info(dtype);
  // Quantised blocks hold 16-bit scales and are read bytewise or as such.
  const auto align = static_cast<uintptr_t>(is_quantised(dtype) ? 2 : info.block_bytes);
  if (reinterpret_cast<uintptr_t>(view.raw()) % align == 0) {
    return view;
  }
  Tensor copy = Tensor::empty(dtype, shape);
  std::memcpy(copy.raw(), view.raw(), static_cast<size_t>(view.bytes()));
  return copy;
}

std::shared_ptr<const GgufFile> GgufFile::open(FileSystem& fs, const std::filesystem::path& path) {
  std::shared_ptr<const ReadableFile> mapped = fs.open(path);
  return parse(mapped->bytes(), path.string(), mapped);
}

std::shared_ptr<const GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string file,
                                                std::shared_ptr<const void> keep_alive) {
  std::shared_ptr<GgufFile> out(new GgufFile);
  out->file_ = std::move(file);
  ByteReader in(bytes, out->file_);
  out->version_ = read_version(in, out->file_);
  const uint64_t tensor_count = read_count(in, out->file_, "tensor count", kMinTensorBytes);
  const uint64_t entry_count = read_count(in, out->file_, "metadata count", kMinEntryBytes);
  out->entries_.reserve(entry_count);
  for (uint64_t i = 0; i < entry_count; ++i) {
    out->entries_.push_back(read_entry(in, out->file_));
  }
  sort_unique(out->entries_, &GgufEntry::key, out->file_, "metadata key");
  out->tensors_.reserve(std::min(tensor_count, in.remaining() / kMinTensorBytes));
  for (uint64_t i = 0; i < tensor_count; ++i) {
    out->tensors_.push_back(read_tensor_info(in, out->file_));
  }
  sort_unique(out->tensors_, &GgufTensorInfo::name, out->file_, "tensor");
  out->storage_ = Storage::borrow(bytes.data(), bytes.size(), std::move(keep_alive));
  out->check_data(in.offset(), bytes.size());
  return out;
}

void GgufFile::check_data(uint64_t header_bytes, uint64_t file_bytes) {
  alignment_ = static_cast<uint64_t>(
      find_int("general.alignment", 8, kMaxAlignment).value_or(kGgufDefaultAlignment));
  OB_REQUIRE(std::has_single_bit(alignment_), Corrupt,
             "{}: metadata general.alignment: {} is not a power of two", file_, alignment_);
  const uint64_t data_begin = (header_bytes + alignment_ - 1) / alignment_ * alignment_;
  std::vector<std::pair<uint64_t, const GgufTensorInfo*>> by_offset;
  by_offset.reserve(tensors_.size());
  for (GgufTensorInfo& info : tensors_) {
    const std::string name = printable(info.name);
    OB_REQUIRE(info.offset % alignment_ == 0, Corrupt,
               "{}: tensor {}: offset {} is not a multiple of {}", file_, name, info.offset,
               alignment_);
    info.offset = checked_add(data_begin, info.offset, "offset of tensor " + name);
    const uint64_t end = checked_add(info.offset, info.bytes, "end of tensor " + name);
    OB_REQUIRE(
        end <= file_bytes, Corrupt,
        "{}: tensor {}: bytes {} to {} lie past the file's end at {}; the file is cut short, "
        "fetch it again",
        file_, name, info.offset, end, file_bytes);
    by_offset.emplace_back(info.offset, &info);
  }
  std::sort(by_offset.begin(), by_offset.end());
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensorInfo& before = *by_offset[i - 1].second;
    OB_REQUIRE(before.offset + before.bytes <= by_offset[i].first, Corrupt,
               "{}: tensors {} and {} overlap at offset {}", file_, printable(before.name),
               printable(by_offset[i].second->name), by_offset[i].first);
  }
}

const GgufEntry* GgufFile::find(std::string_view key) const {
  return find_sorted(entries(), &GgufEntry::key, key);
}

const GgufTensorInfo* GgufFile::find_tensor(std::string_view name) const {
  return find_sorted(tensors(), &GgufTensorInfo::name, name);
}

Tensor GgufFile::tensor(std::string_view name) const {
  const GgufTensorInfo* info = find_tensor(name);
  OB_REQUIRE(info != nullptr, NotFound, "{}: tensor {} is missing", file_, printable(name));
  OB_REQUIRE(info->dtype.has_value(), Unsupported,
             "{}: tensor {} is stored as {}; this build reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
             "Q5_0, Q5_1, Q4_K, "
             "Q5_K and Q6_K",
             file_, printable(name), ggml_type_name(info->ggml_type));
  return view_tensor(storage_, *info->dtype, info->shape, info->offset);
}

}  // namespace offbook::model
