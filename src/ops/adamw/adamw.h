// The optimiser step and the norm it is clipped by.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct AdamwArgs {
  Tensor param;  // f32 [n], updated
  Tensor grad;   // f32 [n]
  Tensor m;      // f32 [n], updated
  Tensor v;      // f32 [n], updated
  float lr = 0;
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
  float weight_decay = 0;  // decoupled (arXiv 1711.05101)
  int64_t step = 1;        // from 1, for bias correction
  float grad_scale = 1;    // multiplies grad first (clipping, accumulation)
  Tensor copy;  // bf16 [n] that follows param, or undefined
};
// Equals torch.optim.AdamW. Not differentiable.
void adamw(const ExecutionContext& ctx, const AdamwArgs& args);

struct SumSquaresArgs {
  Tensor x;    // f32 or bf16, contiguous, any shape
  Tensor out;  // f32 [1], added to
};
// Sum of squares in a fixed order: the same bits for any number of threads. Not differentiable.
void sum_squares(const ExecutionContext& ctx, const SumSquaresArgs& args);

}  // namespace offbook::ops
