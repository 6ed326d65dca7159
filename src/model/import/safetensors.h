// Reader and writer of safetensors files, single and sharded; hostile until checked.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

struct SafetensorsInfo {
  std::string name;
  std::string dtype_name;      // as in the file: "BF16"
  std::optional<Dtype> dtype;  // nothing: a type that tensor() refuses
  Shape shape;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
};

// One checked file, its tensors as views into the mapping.
//
// The header is read event by event into the table of tensors, never into a tree: memory is bounded
// by the tensors it names. Checked: header length (≤ 100,000,000 bytes and inside the file), types
// of all fields, no name twice, ranks 0…5, size = shape × element size, and that the tensors cover
// the data without gap or overlap, as the format demands.
//
// Thread-safe: immutable; tensors keep the mapping alive. Errors: Corrupt with file, tensor and
// field; Unsupported for element types other than F32, F16, BF16, I32, I64, U8, I8, when asked for.
class SafetensorsFile {
 public:
  static std::shared_ptr<const SafetensorsFile> open(FileSystem& fs,
                                                     const std::filesystem::path& path);
  // The same over bytes in memory that `keep_alive` owns; `file` is what errors call it.
  static std::shared_ptr<const SafetensorsFile> parse(std::span<const std::byte> bytes,
                                                      std::string file,
                                                      std::shared_ptr<const void> keep_alive);

  const std::string& file() const noexcept { return file_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  // All tensors, sorted by name.
  std::span<const SafetensorsInfo> tensors() const noexcept { return tensors_; }
  const SafetensorsInfo* find(std::string_view name) const;
  // A view (a copy only where the bytes are not aligned for the type). NotFound, Unsupported.
  Tensor tensor(std::string_view name) const;

 private:
  SafetensorsFile() = default;
  void check_data(uint64_t data_begin, uint64_t file_bytes);

  std::string file_;
  std::map<std::string, std::string> metadata_;
  std::vector<SafetensorsInfo> tensors_;
  std::shared_ptr<Storage> storage_;  // the whole file
};

// The tensors of a model directory: model.safetensors, or the shards that
// model.safetensors.index.json names (plain file names beside it; each tensor in the shard that the
// index says). Errors as above; NotFound where the directory holds neither.
class SafetensorsModel {
 public:
  static std::shared_ptr<const SafetensorsModel> open(FileSystem& fs,
                                                      const std::filesystem::path& directory);
  explicit SafetensorsModel(std::vector<std::shared_ptr<const SafetensorsFile>> shards);

  // What errors call the whole: the file, or the directory.
  const std::string& name() const noexcept { return name_; }
  std::span<const std::shared_ptr<const SafetensorsFile>> shards() const noexcept {
    return shards_;
  }
  bool has(std::string_view name) const { return shard_of(name) != nullptr; }
  Tensor tensor(std::string_view name) const;  // NotFound, Unsupported

 private:
  const SafetensorsFile* shard_of(std::string_view name) const;

  std::string name_;
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;
};

// A whole file of contiguous CPU tensors, larger element types first so that every tensor is
// aligned. InvalidArgument for a strided tensor, Unsupported for a quantised one.
std::vector<std::byte> write_safetensors(const std::map<std::string, Tensor>& tensors,
                                         const std::map<std::string, std::string>& metadata = {});

}  // namespace offbook::model
