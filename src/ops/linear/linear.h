// Matrix products with a weight: forward, and the gradients to input and weight.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct LinearArgs {
  Tensor x;       // [n, in], f32 or bf16; rows may be strided
  Tensor weight;  // [out, in], any float or quantised type
  Tensor bias;    // [out], f32, or undefined
  float alpha = 1.0f;
  Write write = Write::overwrite;
  Tensor addend;  // like out and of its type, or undefined; with Write::overwrite only
  Tensor out;     // [n, out], f32 or bf16; rows may be strided
};
// out (+)= alpha · x weightᵀ + bias (+ addend). ctx.compute says in which type the factors multiply
// (f32 is exact for f32 inputs; bf16 rounds both factors); sums are f32. With quantised weights and n ≤ 8 an
// implementation may quantise activations to int8 per 32 values, unless ctx.compute is f32. A row's
// result has the same bits for n = 1…8.
void linear(const ExecutionContext& ctx, const LinearArgs& args);

struct LinearBackwardInputArgs {
  Tensor d_out;   // [n, out]
  Tensor weight;  // [out, in], any type
  float alpha = 1.0f;
  Write write = Write::overwrite;
  Tensor d_x;  // [n, in], f32 or bf16
};
// d_x (+)= alpha · d_out weight.
void linear_backward_input(const ExecutionContext& ctx, const LinearBackwardInputArgs& args);

struct LinearBackwardWeightArgs {
  Tensor x;      // [n, in]
  Tensor d_out;  // [n, out]
  float alpha = 1.0f;
  Tensor d_weight;  // f32 [out, in], added to
  Tensor d_bias;    // f32 [out], added to, or undefined
};
// d_weight += alpha · d_outᵀ x; d_bias += column sums of d_out. The sum over n is never split among threads.
void linear_backward_weight(const ExecutionContext& ctx, const LinearBackwardWeightArgs& args);

}  // namespace offbook::ops
