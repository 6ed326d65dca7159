// Layer normalisation with an optional residual, as BERT uses it (arXiv 1607.06450).
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct LayerNormArgs {
  Tensor x;         // [n, dim], f32 or bf16
  Tensor residual;  // [n, dim] added to x first, or undefined
  Tensor weight;    // [dim], f32
  Tensor bias;      // [dim], f32
  float eps = 1e-12f;
  Tensor out;  // [n, dim]
};
// out = (y − mean(y)) / sqrt(var(y) + eps) · weight + bias with y = x + residual.
// Not differentiable: only the frozen sentence encoder uses it.
void layer_norm(const ExecutionContext& ctx, const LayerNormArgs& args);

}  // namespace offbook::ops
