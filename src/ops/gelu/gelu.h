// The exact Gaussian error linear unit of BERT (arXiv 1606.08415).
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct GeluArgs {
  Tensor x;    // [n, dim], f32 or bf16, contiguous
  Tensor out;  // [n, dim]; may be x itself
};
// out = x · Φ(x) with the error function, not the tanh form; absolute error ≤ 1e-6 in f32.
// Not differentiable: only the frozen sentence encoder uses it.
void gelu(const ExecutionContext& ctx, const GeluArgs& args);

}  // namespace offbook::ops
