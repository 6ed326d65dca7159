// Small operations on whole tensors.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct AddArgs {
  Tensor a;    // any shape of rank ≤ 3, f32 or bf16; strides free but 1 along the last axis
  Tensor b;    // shape of a
  Tensor out;  // shape of a
};
// out = a + b. Its gradient is `copy`.
void add(const ExecutionContext& ctx, const AddArgs& args);

struct CopyArgs {
  Tensor x;  // rank ≤ 3, f32 or bf16 (or i32 to i32); strides free but 1 along the last axis
  float alpha = 1.0f;
  Write write = Write::overwrite;
  Tensor out;  // shape of x, f32 or bf16
};
// out (+)= alpha · x, converting types and strides.
void copy(const ExecutionContext& ctx, const CopyArgs& args);

struct FillArgs {
  float value = 0;
  Tensor out;  // rank ≤ 3, f32, bf16 or i32; strides free but 1 along the last axis
};
// out = value everywhere. Not differentiable.
void fill(const ExecutionContext& ctx, const FillArgs& args);

struct AffineRowsArgs {
  Tensor x;      // [n, dim], f32 or bf16
  Tensor scale;  // f32 [1]: learned
  Tensor row;    // f32 [dim]: learned
  Tensor out;    // [n, dim]
};
// out[i] = row + scale · x[i]: a beacon's input from the pooled tokens it closes.
void affine_rows(const ExecutionContext& ctx, const AffineRowsArgs& args);

struct AffineRowsBackwardArgs {
  Tensor x;
  Tensor scale;
  Tensor d_out;    // [n, dim]
  Tensor d_x;      // [n, dim], added to, or undefined
  Tensor d_scale;  // f32 [1], added to
  Tensor d_row;    // f32 [dim], added to
};
void affine_rows_backward(const ExecutionContext& ctx, const AffineRowsBackwardArgs& args);

}  // namespace offbook::ops
