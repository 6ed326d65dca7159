// Writer of GGUF version 3 files: LoRA export and test fixtures.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/model/import/gguf_types.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

// Collects metadata and tensors in the order given, then lays the file out. Copies metadata at
// once, tensors when bytes() or write() runs (they are shared until then). Not thread-safe. Errors:
// InvalidArgument for a key or name given twice, an empty one, or a rank outside 1…4; Unsupported
// for element types GGUF has none for; Io from write().
class GgufWriter {
 public:
  void set_u32(std::string_view key, uint32_t value);
  void set_u64(std::string_view key, uint64_t value);
  void set_i32(std::string_view key, int32_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_i32s(std::string_view key, std::span<const int32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);

  // A contiguous CPU tensor; its last axis is the file's first.
  void add_tensor(std::string_view name, Tensor tensor);

  // The whole file.
  std::vector<std::byte> bytes() const;
  // Written beside and renamed over `path`.
  void write(FileSystem& fs, const std::filesystem::path& path) const;

 private:
  void begin_entry(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, size_t count);

  std::vector<std::string> names_;  // keys and tensor names, to refuse doubles
  uint64_t entry_count_ = 0;
  std::vector<std::byte> entries_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

}  // namespace offbook::model
