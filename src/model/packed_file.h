// Packed weights on disk: docs/formats/packed.md.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/ops/packed_linear/packed_matrix.h"

namespace offbook::model {

enum class PackedOrder : uint8_t { stacked, alternating };

// Writes the file atomically. Errors of the file system.
void write_packed(FileSystem& fs, const std::filesystem::path& path, const std::string& fingerprint,
                  std::span<const ops::PackedMatrix* const> matrices);

// Maps a file and gives its matrices in the order in which they were written.
class PackedReader {
 public:
  // Reads everything once for the checksum. NotFound; Corrupt (size, checksum, another model's);
  // Unsupported (another version of the format).
  PackedReader(FileSystem& fs, const std::filesystem::path& path, const std::string& fingerprint);

  // The next matrix, which must be what these weights pack to. Corrupt if it is not. Its tensors
  // lie in the mapping and keep it alive.
  ops::PackedMatrix next(std::span<const Tensor> weights, PackedOrder order);

 private:
  ops::PackedPart part(Dtype dtype, int64_t panels, int64_t cols);

  std::string where_;
  std::shared_ptr<const ReadableFile> file_;
  size_t entry_ = 0;
  size_t entries_ = 0;
};

}  // namespace offbook::model
