// Element types of tensors: plain numbers, and the block-quantised types of GGUF files.
#pragma once
#include <cstdint>
#include <string_view>

namespace offbook {

// The numbers are written into artefact files: never renumber, only append.
enum class Dtype : uint8_t {
  f32 = 0,
  f16 = 1,
  bf16 = 2,
  i32 = 3,
  i64 = 4,
  u8 = 5,
  i8 = 6,
  q8_0 = 16,  // blocks of 32 values along the last axis, see docs/formats/quantised.md
  q4_0 = 17,
  q4_1 = 18,
  q5_0 = 19,
  q5_1 = 20,
  q4_k = 21,  // super-blocks of 256 values
  q5_k = 22,
  q6_k = 23,
};

struct DtypeInfo {
  std::string_view name;
  int block_elems;  // 1 for plain types
  int block_bytes;
};

// Throws Corrupt for a number that is no Dtype (values that came from a file).
const DtypeInfo& dtype_info(Dtype dtype);

inline bool is_quantised(Dtype dtype) { return static_cast<uint8_t>(dtype) >= 16; }
inline bool is_float(Dtype dtype) { return static_cast<uint8_t>(dtype) <= 2; }

// Bytes of `elems` consecutive values; elems must be a multiple of the block.
int64_t dtype_bytes(Dtype dtype, int64_t elems);

}  // namespace offbook
