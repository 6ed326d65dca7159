#include <cstring>

#include "src/base/float16.h"
#include "src/ops/testing/device.h"

namespace offbook::ops::testing {
namespace {

// Byte offsets of the f16 numbers in a block of each type.
std::vector<size_t> f16_offsets(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_1:
    case Dtype::q5_1:
    case Dtype::q4_k:
    case Dtype::q5_k:
      return {0, 2};
    case Dtype::q6_k:
      return {208};
    default:
      return {0};
  }
}

}  // namespace

void fill_random_blocks(Dtype dtype, std::span<std::byte> bytes, const std::function<uint64_t()>& random) {
  const auto block = static_cast<size_t>(dtype_info(dtype).block_bytes);
  for (std::byte& b : bytes) {
    b = static_cast<std::byte>(random() >> 40);
  }
  for (size_t at = 0; at + block <= bytes.size(); at += block) {
    for (const size_t offset : f16_offsets(dtype)) {
      const float scale = (static_cast<float>(random() >> 40) * 0x1p-24f - 0.3f) * 0.02f;
      const F16 half = to_f16(scale);
      std::memcpy(&bytes[at + offset], &half, 2);
    }
  }
}

}  // namespace offbook::ops::testing
