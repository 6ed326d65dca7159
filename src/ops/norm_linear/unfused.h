// norm_linear and norm_swiglu out of the operations they fuse, for backends without a kernel of
// their own, and where that kernel does not fit. Included inside the namespace of a backend's
// operations.
#pragma once
#include "src/ops/registry.h"

namespace offbook::ops {

// `Ops` names the backend's rms_norm, linear and swiglu.
template <class Ops>
void norm_linear_unfused(const ExecutionContext& ctx, const NormLinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor normed = ctx.make(a.rows.x.dtype(), a.rows.x.shape());
  Ops::rms_norm(ctx, {.x = a.rows.x, .weight = a.rows.weight, .eps = a.rows.eps, .out = normed});
  for (size_t i = 0; i < a.weights.size() && a.weights[i].defined(); ++i) {
    Ops::linear(ctx, {.x = normed, .weight = a.weights[i], .bias = a.biases[i], .out = a.outs[i]});
  }
}

template <class Ops>
void norm_swiglu_unfused(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Dtype dtype = a.rows.x.dtype();
  const Tensor normed = ctx.make(dtype, a.rows.x.shape());
  const Tensor gate = ctx.make(dtype, a.out.shape());
  const Tensor up = ctx.make(dtype, a.out.shape());
  Ops::rms_norm(ctx, {.x = a.rows.x, .weight = a.rows.weight, .eps = a.rows.eps, .out = normed});
  Ops::linear(ctx, {.x = normed, .weight = a.gate, .out = gate});
  Ops::linear(ctx, {.x = normed, .weight = a.up, .out = up});
  Ops::swiglu(ctx, {.gate = gate, .up = up, .out = a.out});
}

}  // namespace offbook::ops
