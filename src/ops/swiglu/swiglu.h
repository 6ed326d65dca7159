// The gated activation of Llama's feed-forward layer (arXiv 2002.05202).
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct SwigluArgs {
  Tensor gate;  // [n, dim], f32 or bf16; rows may be strided (halves of one tensor)
  Tensor up;    // [n, dim]
  Tensor out;   // [n, dim]
};
// out = gate · sigmoid(gate) · up.
void swiglu(const ExecutionContext& ctx, const SwigluArgs& args);

struct SwigluBackwardArgs {
  Tensor gate;
  Tensor up;
  Tensor d_out;   // [n, dim]
  Tensor d_gate;  // [n, dim], overwritten
  Tensor d_up;    // [n, dim], overwritten
  // [n, dim], or undefined: swiglu(gate, up) once more, for the gradient of a weight that read it.
  Tensor out;
};
void swiglu_backward(const ExecutionContext& ctx, const SwigluBackwardArgs& args);

}  // namespace offbook::ops
