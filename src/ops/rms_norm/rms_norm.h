// Root-mean-square normalisation (arXiv 1910.07467, eq 4).
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct RmsNormArgs {
  Tensor x;       // [n, dim] or [n, heads, dim]; f32 or bf16; any strides but 1 along dim
  Tensor weight;  // [dim], f32 or bf16
  float eps = 1e-5f;
  Tensor out;  // shape of x, f32 or bf16
};
// out = x / sqrt(mean(x²) + eps) · weight over the last axis; sums in f32.
void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& args);

struct RmsNormBackwardArgs {
  Tensor x;
  Tensor weight;
  float eps = 1e-5f;
  Tensor d_out;     // shape of x
  Tensor d_x;       // shape of x, f32 or bf16
  Tensor d_weight;  // f32 [dim], always added to; undefined when the weight is frozen
  Write write = Write::overwrite;  // of d_x
};
// Gradient of rms_norm: docs/derivations/rms_norm.md.
void rms_norm_backward(const ExecutionContext& ctx, const RmsNormBackwardArgs& args);

}  // namespace offbook::ops
