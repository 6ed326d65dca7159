#include "src/ops/attention/checks.h"
#include "src/ops/attention/kernels_cuda.cuh"
#include "src/ops/cuda/reduce.cuh"

namespace offbook::ops::cuda {
namespace {

// delta[n, head] = d_out · out, the sum that every row of dS loses (arXiv 2205.14135, B.4).
__global__ void row_products(RowsOf<Any> d_out, RowsOf<Any> out, float* delta) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (r >= out.count) {
    return;
  }
  float sum = 0;
  for (int64_t i = threadIdx.x % 32 * 8; i < out.dim; i += 256) {
    float a[8], b[8];
    d_out.get8(d_out.row(r), i, a);
    out.get8(out.row(r), i, b);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sum = fmaf(a[j], b[j], sum);
    }
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    delta[r] = sum;
  }
}

ForwardPass<PackedKeys> forward_pass(const AttentionArgs& a) {
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .out = a.out,
          .keys = packed_keys(a),
          .shape = {.q = head_strides(a.q),
                    .out = head_strides(a.out),
                    .lse = a.lse.defined() ? a.lse.data<float>() : nullptr,
                    .heads = static_cast<int>(a.q.dim(1)),
                    .group = static_cast<int>(a.q.dim(1) / a.k.dim(1)),
                    .dim = static_cast<int>(a.q.dim(2)),
                    .scale = a.scale},
          .sequences = static_cast<int>(a.sequences.dim(0)),
          .max_length = a.max_length,
          .skip_rows = 0};
}

}  // namespace

// The one place that chooses: cuDNN, the FlashAttention kernels for what it refuses, the slow exact
// one for the rest.
void attention(const ExecutionContext& ctx, const AttentionArgs& a) {
  if (a.q.numel() == 0 || attention_cudnn(ctx, a)) {
    return;
  }
  if (flash_fits(ctx, a.q, a.k, a.v, a.out)) {
    attention_flash(ctx, forward_pass(a));
  } else {
    attention_any(ctx, forward_pass(a));
  }
}

void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& a) {
  const AttentionArgs& f = a.forward;
  if (f.q.numel() > 0 && attention_backward_cudnn(ctx, a)) {
    return;
  }
  clear_overwritten(ctx, a);
  if (f.q.numel() == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Tensor delta = ctx.make(Dtype::f32, {f.q.dim(0), f.q.dim(1)});
  launch(ctx, "attention_row_products", threads_for(delta.numel() * 32), row_products,
         rows_of<Any>(a.d_out), rows_of<Any>(f.out), delta.data<float>());
  if (flash_fits(ctx, f.q, f.k, f.v, f.out) && a.d_out.dtype() == Dtype::bf16 &&
      heads_aligned(a.d_out)) {
    attention_backward_flash(ctx, a, delta);
  } else {
    attention_backward_any(ctx, a, delta);
  }
}

}  // namespace offbook::ops::cuda
