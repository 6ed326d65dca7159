// Root-mean-square norm together with the products that read its result: what a decoder layer does
// before attention and before its feed-forward part. For decoding, where each small kernel costs as
// much as the bytes of a small weight.
#pragma once
#include <array>

#include "src/ops/op.h"

namespace offbook::ops {

// A norm whose result several products read.
struct NormedRows {
  Tensor x;       // [n, in], f32 or bf16
  Tensor weight;  // [in], f32 or bf16
  float eps = 1e-5f;
};

inline constexpr int kMostNormLinears = 3;  // queries, keys and values

struct NormLinearArgs {
  NormedRows rows;
  // [out_i, in], any float or quantised type; undefined ones behind the last are left out.
  std::array<Tensor, kMostNormLinears> weights;
  std::array<Tensor, kMostNormLinears> biases;  // f32 [out_i], or undefined
  std::array<Tensor, kMostNormLinears> outs;    // [n, out_i], f32 or bf16; rows may be strided
};
// outs_i = rms_norm(x) weights_iᵀ + biases_i. The norm is rounded to bf16 before the products where
// ctx.compute is bf16, else to the type of x. A row's result has the same bits for n = 1…8.
// Not differentiable: training composes rms_norm and linear.
void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& args);

struct NormSwigluArgs {
  NormedRows rows;
  Tensor gate;  // [dim, in], any float or quantised type
  Tensor up;    // [dim, in]
  Tensor out;   // [n, dim], the type of x; rows may be strided
};
// out = swiglu(rms_norm(x) gateᵀ, rms_norm(x) upᵀ). As norm_linear; a fused implementation does not
// round the two products before they meet.
void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& args);

}  // namespace offbook::ops
