// Next-token loss fused with the language-model head, in chunks of rows: [tokens, vocab] never
// exists.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct LinearCrossEntropyArgs {
  Tensor hidden;   // [n, dim], f32 or bf16
  Tensor head;     // [vocab, dim], any float or quantised type
  Tensor targets;  // i32 [n]; −1: row without loss
  Tensor losses;   // f32 [n]: −log p(target), 0 for rows without
  Tensor lse;      // f32 [n]: log of the softmax denominator, for backward; or undefined
  // [n, dim], f32 or bf16: gradient of each row's loss, made in the same walk over the vocabulary
  // (not on CUDA); or undefined.
  Tensor gradient;
};
// Memory besides: scratch from ctx's arena, at most 16 MiB on the CPU and more on CUDA.
void linear_cross_entropy(const ExecutionContext& ctx, const LinearCrossEntropyArgs& args);

struct LinearCrossEntropyBackwardArgs {
  LinearCrossEntropyArgs forward;  // with lse
  Tensor d_losses;                 // f32 [n]
  Tensor d_hidden;                 // [n, dim], overwritten or added to
  Write write = Write::overwrite;
  Tensor d_head;  // f32 [vocab, dim], added to, or undefined (frozen head)
};
// d_hidden (+)= d_loss · (softmax − onehot) head; logits are computed again, chunk by chunk. With
// forward.gradient and a frozen head only its rows are scaled.
void linear_cross_entropy_backward(const ExecutionContext& ctx,
                                   const LinearCrossEntropyBackwardArgs& args);

}  // namespace offbook::ops
