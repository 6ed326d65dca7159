// Reader of GGUF model files (versions 2 and 3, little-endian), which are hostile until checked.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/model/import/gguf_types.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

// One metadata pair. Views point into the file.
struct GgufEntry {
  std::string_view key;
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;     // of an array; never array itself
  uint64_t count = 1;                  // elements of an array
  std::span<const std::byte> payload;  // the value, or the array's elements, as stored
  uint64_t offset = 0;                 // of the payload in the file
};

struct GgufTensorInfo {
  std::string_view name;
  uint32_t ggml_type = 0;
  std::optional<Dtype> dtype;  // nothing: a type that tensor() refuses
  Shape shape;                 // row-major: [out, in], the file's order reversed
  uint64_t offset = 0;         // in the file
  uint64_t bytes = 0;          // 0 where the type is not known
};

// A checked GGUF file: metadata and tensors as views into the mapping, no copy.
//
// parse() checks everything before it believes it: each count against the bytes that remain before
// memory is asked for, lengths, element types, alignment (a power of two, 8…65,536), ranks (1…4),
// whole quantised blocks, offsets and sizes against the file, overlaps, duplicate keys and names.
// So no later call can read outside the file. A file that shrinks while mapped still faults: model
// files are replaced by renaming, not rewritten.
//
// Thread-safe: immutable. Tensors keep the mapping alive, views of keys and strings do not: they
// live as long as this. Errors: Corrupt with file, field and offset; Unsupported for other
// versions, big-endian files and element types we do not read. Cost: O(metadata).
class GgufFile {
 public:
  static std::shared_ptr<const GgufFile> open(FileSystem& fs, const std::filesystem::path& path);
  // The same over bytes in memory that `keep_alive` owns; `file` is what errors call it.
  static std::shared_ptr<const GgufFile> parse(std::span<const std::byte> bytes, std::string file,
                                               std::shared_ptr<const void> keep_alive);

  const std::string& file() const noexcept { return file_; }
  uint32_t version() const noexcept { return version_; }
  uint64_t alignment() const noexcept { return alignment_; }

  // All pairs, sorted by key.
  std::span<const GgufEntry> entries() const noexcept { return entries_; }
  const GgufEntry* find(std::string_view key) const;

  // Typed access; nothing where the key is absent, Corrupt (key, wanted, came) where the type is
  // another. Integers: any integer type of the file whose value lies in [low, high]; else Corrupt
  // with the range.
  std::optional<int64_t> find_int(std::string_view key, int64_t low, int64_t high) const;
  std::optional<double> find_float(std::string_view key) const;  // f32 or f64, finite
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;
  std::optional<std::vector<float>> find_floats(std::string_view key) const;  // f32 array
  std::optional<std::vector<int32_t>> find_ints(
      std::string_view key) const;  // i32 or u32 array, ≤ 2³¹−1
  // The same, but an absent key is Corrupt too.
  int64_t get_int(std::string_view key, int64_t low, int64_t high) const;
  double get_float(std::string_view key) const;
  std::string_view get_string(std::string_view key) const;

  // All tensors, sorted by name.
  std::span<const GgufTensorInfo> tensors() const noexcept { return tensors_; }
  const GgufTensorInfo* find_tensor(std::string_view name) const;
  // A view into the mapping (copied only if the bytes are not aligned for the type). NotFound, or
  // Unsupported with the element type's name.
  Tensor tensor(std::string_view name) const;

 private:
  GgufFile() = default;
  void check_data(uint64_t header_bytes, uint64_t file_bytes);

  std::string file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = kGgufDefaultAlignment;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensorInfo> tensors_;
  std::shared_ptr<Storage> storage_;  // the whole file
};

// A tensor view at an offset of a file's bytes, copied only
// where the address is not a multiple of the plain element's size.
Tensor view_tensor(const std::shared_ptr<Storage>& file, Dtype dtype, const Shape& shape,
                   uint64_t offset);

}  // namespace offbook::model
