// Sums over warps and blocks in a fixed order, and column sums of matrices.
#pragma once
#include "src/ops/cuda/elements.cuh"

namespace offbook::ops::cuda {

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, step);
  }
  return x;
}

// Sum over the block, known to every thread. Blocks of whole warps; all threads take part.
__device__ inline float block_sum(float x) {
  __shared__ float parts[32];
  const unsigned lane = threadIdx.x % 32;
  const unsigned warps = blockDim.x / 32;
  x = warp_sum(x);
  __syncthreads();  // parts may still be read by an earlier sum
  if (lane == 0) {
    parts[threadIdx.x / 32] = x;
  }
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : 0.0f);
}

// out[c] += alpha · Σ_r x[r, c], in an order that depends on the shape alone; out is f32.
void add_column_sums(const ExecutionContext& ctx, const Tensor& x, float alpha, float* out);

}  // namespace offbook::ops::cuda
