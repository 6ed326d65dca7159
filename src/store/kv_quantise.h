// KV prefixes in 8 or 4 bits: keys share a range per channel, values per slot and head.
#pragma once
#include "src/tensor/tensor.h"

namespace offbook::store {

// See docs/formats/artefact.md, tensors kv_codes, kv_key_ranges and kv_value_ranges.
struct QuantisedKv {
  int bits = 8;         // 8 or 4
  Tensor codes;         // u8 [layer, 2, n, kv_head, head_dim × bits / 8]
  Tensor key_ranges;    // bf16 [layer, kv_head, head_dim, 2]: low, step
  Tensor value_ranges;  // bf16 [layer, n, kv_head, 2]: low, step
};

// kv: f32, bf16 or f16 [layer, 2, n, kv_head, head_dim], contiguous; head_dim even for 4 bits.
// Every value comes back within half a step of its range (plus the rounding of the asked dtype).
// Throws InvalidArgument for another shape, dtype or a value that is not finite.
// Keys and values are ranged differently because key channels carry constant outliers (KIVI,
// arXiv 2402.02750). Measured on normal values with such channels, RMS error: 8 bits 0.6%,
// 4 bits 9% of their standard deviation (kv_quantise_test).
QuantisedKv quantise_kv(const Tensor& kv, int bits);

// [layer, 2, n, kv_head, head_dim] of `dtype` (f32 or bf16 or f16). Throws Corrupt when the
// tensors' shapes do not belong together.
Tensor dequantise_kv(const QuantisedKv& quantised, Dtype dtype);

}  // namespace offbook::store
