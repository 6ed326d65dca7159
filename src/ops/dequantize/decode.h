// Runs of weight values as plain numbers: what dequantize, embedding and linear share.
// Bits of every block: docs/formats/quantised.md.
#pragma once
#include <cstddef>
#include <cstdint>

#include "src/base/float16.h"
#include "src/tensor/tensor.h"

namespace offbook::ops {

// f32, f16, bf16 or quantised: what a weight may be.
inline bool is_weight(const Tensor& t) {
  return is_float(t.dtype()) || is_quantised(t.dtype());
}
// Rank 2, whole rows one after another, each contiguous.
inline bool is_weight_matrix(const Tensor& t) {
  return t.defined() && t.rank() == 2 && is_weight(t) && (t.dim(1) <= 1 || t.stride(1) == 1);
}

// decode(dtype, from, count, to): `count` consecutive values, a multiple of the dtype's block.
// Exact as f32 (the same bits as llama.cpp); as bf16 the f32 value is rounded to nearest even. No
// checks.
#define OB_DECODE_DECLARATIONS                                                        \
  void decode(Dtype dtype, const std::byte* from, int64_t count, float* to) noexcept; \
  void decode(Dtype dtype, const std::byte* from, int64_t count, Bf16* to) noexcept;
namespace ref {
void decode(Dtype dtype, const std::byte* from, int64_t count, float* to) noexcept;
}
namespace avx2 {
OB_DECODE_DECLARATIONS
}
namespace avx512 {
OB_DECODE_DECLARATIONS
}
#undef OB_DECODE_DECLARATIONS

}  // namespace offbook::ops
