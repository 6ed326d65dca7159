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

struct LoraArgs {
  Tensor x;                                // [n, in]
  std::span<const LoraFactors> adapters;   // an entry may have undefined factors: no change
  Tensor adapter_of_row;                   // i32 [n], −1: none
  Tensor scratch;                          // f32 [n, largest rank]
  Tensor out;                              // [n, out], added to
};
// out[i] += scale_j · (x[i] a_jᵀ) b_jᵀ with j = adapter_of_row[i]. A row's result does not depend on the
// other rows. Not differentiable: training composes two linear operations.
void lora(const ExecutionContext& ctx, const LoraArgs& args);

}  // namespace offbook::ops
