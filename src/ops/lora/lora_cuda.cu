#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int kAdapters = 64;  // of one launch: their addresses travel as kernel arguments
constexpr int kBlock = 256;

struct Factor {
  Any a;
  Any b;
  int64_t a_stride;
  int64_t b_stride;
  float scale;
  int rank;  // 0: no change
  bool aligned;
};
struct Adapters {
  Factor factor[kAdapters];
  int first;
  int count;

  // The adapter of a row, or null when it is none of this launch.
  __device__ const Factor* of(int32_t index) const {
    const bool mine = index >= first && index < first + count;
    return mine && factor[index - first].rank > 0 ? &factor[index - first] : nullptr;
  }
};

// scratch[i, r] = x[i] · a[r]: a block for each row, a warp for each rank at a time.
template <class A>
__global__ void __launch_bounds__(kBlock)
    lora_down(RowsOf<A> x, const __grid_constant__ Adapters adapters, const int32_t* adapter_of_row,
              float* scratch, int64_t stride) {
  const int64_t i = blockIdx.x;
  const Factor* f = adapters.of(adapter_of_row[i]);
  if (f == nullptr) {
    return;
  }
  const A row = x.row(i);
  const int lane = threadIdx.x % 32;
  for (int r = threadIdx.x / 32; r < f->rank; r += kBlock / 32) {
    const Any a = f->a.at(r * f->a_stride);
    float sum = 0;
    for (int64_t k = lane * 8; k < x.dim; k += 256) {
      float u[8], v[8] = {};
      x.get8(row, k, u);
      if (f->aligned && x.aligned) {
        a.get8(k, v);
      } else {
        for (int j = 0; j < 8 && k + j < x.dim; ++j) {
          v[j] = a.get(k + j);
        }
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sum = fmaf(u[j], v[j], sum);
      }
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      scratch[i * stride + r] = sum;
    }
  }
}

// out[i, o] += scale · scratch[i] · b[o]: a thread for each output.
template <class A>
__global__ void __launch_bounds__(kBlock)
    lora_up(RowsOf<A> out, const __grid_constant__ Adapters adapters, const int32_t* adapter_of_row,
            const float* scratch, int64_t stride) {
  extern __shared__ float down[];
  const int64_t i = blockIdx.y;
  const Factor* f = adapters.of(adapter_of_row[i]);
  if (f == nullptr) {
    return;
  }
  for (int r = threadIdx.x; r < f->rank; r += kBlock) {
    down[r] = scratch[i * stride + r];
  }
  __syncthreads();
  const int64_t o = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (o >= out.dim) {
    return;
  }
  const Any b = f->b.at(o * f->b_stride);
  float sum = 0;
  int r = 0;
  if (f->aligned) {
    for (; r + 8 <= f->rank; r += 8) {
      float v[8];
      b.get8(r, v);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sum = fmaf(down[r + j], v[j], sum);
      }
    }
  }
  for (; r < f->rank; ++r) {
    sum = fmaf(down[r], b.get(r), sum);
  }
  const A row = out.row(i);
  row.set(o, row.get(o) + f->scale * sum);
}

Factor factor_of(const LoraFactors& adapter) {
  if (!adapter.a.defined()) {
    return {
        .a = {}, .b = {}, .a_stride = 0, .b_stride = 0, .scale = 0, .rank = 0, .aligned = false};
  }
  const bool aligned = rows_of<Any>(adapter.a).aligned && rows_of<Any>(adapter.b).aligned;
  return {.a = elements<Any>(adapter.a),
          .b = elements<Any>(adapter.b),
          .a_stride = adapter.a.stride(0),
          .b_stride = adapter.b.stride(0),
          .scale = adapter.scale,
          .rank = static_cast<int>(adapter.a.dim(0)),
          .aligned = aligned};
}

}  // namespace

void lora(const ExecutionContext& ctx, const LoraArgs& a) {
  const int64_t n = a.x.dim(0);
  const int64_t most_rows = 65535;  // of a grid's second dimension
  OB_REQUIRE(n <= most_rows, InvalidArgument, "lora on cuda: at most {} rows a call, not {}",
             most_rows, n);
  if (n == 0) {
    return;
  }
  const int32_t* adapter_of_row = a.adapter_of_row.data<int32_t>();
  const int64_t stride = a.scratch.stride(0);
  for (size_t first = 0; first < a.adapters.size(); first += kAdapters) {
    Adapters batch{};
    batch.first = static_cast<int>(first);
    batch.count = static_cast<int>(std::min<size_t>(kAdapters, a.adapters.size() - first));
    int largest = 0;
    for (int j = 0; j < batch.count; ++j) {
      batch.factor[j] = factor_of(a.adapters[first + static_cast<size_t>(j)]);
      largest = std::max(largest, batch.factor[j].rank);
    }
    if (largest == 0) {
      continue;
    }
    with_elements({&a.x}, [&](auto accessor) {
      using A = decltype(accessor);
      launch(ctx, "lora_down", {dim3(blocks_x(n)), dim3(kBlock)}, lora_down<A>, rows_of<A>(a.x),
             batch, adapter_of_row, a.scratch.data<float>(), stride);
    });
    with_elements({&a.out}, [&](auto accessor) {
      using A = decltype(accessor);
      launch(ctx, "lora_up",
             {dim3(blocks_x(div_up(a.out.dim(1), kBlock)), static_cast<unsigned>(n)), dim3(kBlock),
              static_cast<size_t>(largest) * sizeof(float)},
             lora_up<A>, rows_of<A>(a.out), batch, adapter_of_row, a.scratch.data<float>(), stride);
    });
  }
}

}  // namespace offbook::ops::cuda
