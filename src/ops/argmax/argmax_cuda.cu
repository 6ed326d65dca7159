#include <climits>

#include "src/ops/cuda/elements.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int kBlock = 1024;

struct Best {
  float value;
  int index;
  __device__ void take(float other, int at) {
    if (other > value || (other == value && at < index)) {
      value = other;
      index = at;
    }
  }
  __device__ void over_warp() {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, value, step);
      const int at = __shfl_xor_sync(0xffffffffu, index, step);
      take(other, at);
    }
  }
};

template <class A>
__global__ void argmax_row_per_block(RowsOf<A> x, int32_t* out) {
  __shared__ Best parts[kBlock / 32];
  const A row = x.row(blockIdx.x);
  Best best{-INFINITY, INT_MAX};
  for (int64_t i = threadIdx.x * 8; i < x.dim; i += kBlock * 8) {
    float v[8];
    x.get8(row, i, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (i + j < x.dim) {
        best.take(isnan(v[j]) ? -INFINITY : v[j], static_cast<int>(i + j));
      }
    }
  }
  best.over_warp();
  if (threadIdx.x % 32 == 0) {
    parts[threadIdx.x / 32] = best;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    best = parts[threadIdx.x];
    best.over_warp();
    if (threadIdx.x == 0) {
      out[blockIdx.x] = best.index;
    }
  }
}

}  // namespace

void argmax(const ExecutionContext& ctx, const ArgmaxArgs& a) {
  with_elements({&a.x}, [&](auto accessor) {
    using A = decltype(accessor);
    launch(ctx, "argmax", {dim3(blocks_x(a.x.dim(0))), dim3(kBlock)}, argmax_row_per_block<A>,
           rows_of<A>(a.x), a.out.data<int32_t>());
  });
}

}  // namespace offbook::ops::cuda
