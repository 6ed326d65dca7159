// KV prefixes in 8 or 4 bits: a channel of a layer's keys or values has one range over all slots.
#pragma once
#include "src/tensor/tensor.h"

namespace offbook::store {

// See docs/formats/artefact.md, tensors kv_codes and kv_ranges.
struct QuantisedKv {
  int bits = 8;   // 8 or 4
  Tensor codes;   // u8 [layer, 2, n, kv_head, head_dim × bits / 8]
  Tensor ranges;  // bf16 [layer, 2, kv_head, head_dim, 2]: low, step
};

// kv: f32, bf16 or f16 [layer, 2, n, kv_head, head_dim], contiguous; head_dim even for 4 bits.
// In 8 bits every value comes back within half a step of its range (plus the rounding of the asked
// dtype); in 4 bits a range may be cut where that makes the channel's squared error smaller.
// Throws InvalidArgument for another shape, dtype or a value that is not finite.
// A range per channel because both keys (KIVI, arXiv 2402.02750) and a beacon's values have
// channels with offsets of their own. Share of the variance that is lost on 600 slots of SmolLM2 at
// 8×, 4 bits: keys .0088 with whole ranges, .0077 with cut ones; values .0144 with a range per slot
// and head, .0096 per channel, .0084 with cut ones. Cost: 8 bits two passes over the values, 4 bits
// six.
QuantisedKv quantise_kv(const Tensor& kv, int bits);

// [layer, 2, n, kv_head, head_dim] of `dtype` (f32 or bf16 or f16). Throws Corrupt when the
// tensors' shapes do not belong together.
Tensor dequantise_kv(const QuantisedKv& quantised, Dtype dtype);

}  // namespace offbook::store
