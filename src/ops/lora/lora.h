// Low-rank adapters of several tenants in one batch, unmerged (arXiv 2106.09685; batching as in
// Punica, 2310.18547).
#pragma once
#include <span>

#include "src/ops/op.h"

namespace offbook::ops {

struct LoraFactors {
  Tensor a;  // [rank, in], f32 or bf16
  Tensor b;  // [out, rank]
  float scale = 1.0f;
};

// What the adapters change in one of the matrices that read x.
struct LoraPart {
  std::span<const LoraFactors> adapters;  // an entry may have undefined factors: no change
  Tensor out;                             // [n, out], added to
};

inline constexpr size_t kMostLoraParts = 3;  // queries, keys and values

struct LoraArgs {
  Tensor x;  // [n, in]
  std::span<const LoraPart> parts;
  Tensor adapter_of_row;  // i32 [n], −1: none
  Tensor scratch;         // f32 [n, largest ranks of the parts in sum]
};
// Of each part: out[i] += scale_j · (x[i] a_jᵀ) b_jᵀ with j = adapter_of_row[i]. A row's result
// does not depend on the other rows. Not differentiable: training composes two linear operations.
void lora(const ExecutionContext& ctx, const LoraArgs& args);

}  // namespace offbook::ops
