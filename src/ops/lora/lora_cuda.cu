#include "src/ops/cuda/reduce.cuh"
#include "src/ops/lora/parts.h"
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

// The matrices that read one x.
struct Parts {
  Adapters adapters[kMostLoraParts];
  Any outs[kMostLoraParts];
  int64_t out_strides[kMostLoraParts];
  int64_t widths[kMostLoraParts];
  int blocks_end[kMostLoraParts];  // of lora_up, behind those of the part
  int columns[kMostLoraParts];     // of scratch, where those of the part begin
};

// scratch[i, r] = x[i] · a[r]: a block for each row and part, a warp for each rank at a time.
template <class A>
__global__ void __launch_bounds__(kBlock)
    lora_down(RowsOf<A> x, const __grid_constant__ Parts parts, const int32_t* adapter_of_row,
              float* scratch, int64_t stride) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t i = blockIdx.x;
  const Factor* f = parts.adapters[blockIdx.y].of(adapter_of_row[i]);
  if (f == nullptr) {
    return;
  }
  float* const to = scratch + i * stride + parts.columns[blockIdx.y];
  const A row = x.row(i);
  const int lane = threadIdx.x % 32;
  for (int r = threadIdx.x / 32; r < f->rank; r += kBlock / 32) {
    const Any a = f->a.at(r * f->a_stride);
    float sum = 0;
#pragma unroll 4
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
      to[r] = sum;
    }
  }
}

// out[i, o] += scale · scratch[i] · b[o]: a thread for each output.
__global__ void __launch_bounds__(kBlock)
    lora_up(const __grid_constant__ Parts parts, const int32_t* adapter_of_row,
            const float* scratch, int64_t stride) {
  extern __shared__ float down[];
  wait_for_predecessor();
  let_successor_start();
  int part = 0;
#pragma unroll
  for (int p = 0; p + 1 < static_cast<int>(kMostLoraParts); ++p) {
    part += static_cast<int>(blockIdx.x) >= parts.blocks_end[p] ? 1 : 0;
  }
  const int64_t i = blockIdx.y;
  const Factor* f = parts.adapters[part].of(adapter_of_row[i]);
  if (f == nullptr) {
    return;
  }
  for (int r = threadIdx.x; r < f->rank; r += kBlock) {
    down[r] = scratch[i * stride + parts.columns[part] + r];
  }
  __syncthreads();
  const int first_block = part == 0 ? 0 : parts.blocks_end[part - 1];
  const int64_t o = static_cast<int64_t>(blockIdx.x - first_block) * kBlock + threadIdx.x;
  if (o >= parts.widths[part]) {
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
  const int64_t at = i * parts.out_strides[part] + o;
  parts.outs[part].set(at, parts.outs[part].get(at) + f->scale * sum);
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
  const auto count = static_cast<int>(a.parts.size());
  size_t most = 0;  // adapters
  for (const LoraPart& part : a.parts) {
    most = std::max(most, part.adapters.size());
  }
  for (size_t first = 0; first < most; first += kAdapters) {
    Parts parts{};
    int largest = 0;
    int blocks = 0;
    int column = 0;
    for (int p = 0; p < static_cast<int>(kMostLoraParts); ++p) {
      if (p < count) {
        const LoraPart& part = a.parts[static_cast<size_t>(p)];
        const size_t end = std::min(part.adapters.size(), first + kAdapters);
        Adapters& adapters = parts.adapters[p];
        adapters.first = static_cast<int>(first);
        for (size_t j = first; j < end; ++j) {
          adapters.factor[adapters.count] = factor_of(part.adapters[j]);
          largest = std::max(largest, adapters.factor[adapters.count++].rank);
        }
        parts.outs[p] = elements<Any>(part.out);
        parts.out_strides[p] = part.out.stride(0);
        parts.widths[p] = part.out.dim(1);
        parts.columns[p] = column;
        column += static_cast<int>(largest_rank(part));
        blocks += static_cast<int>(div_up(part.out.dim(1), kBlock));
      }
      parts.blocks_end[p] = blocks;
    }
    if (largest == 0) {
      continue;
    }
    with_elements({&a.x}, [&](auto accessor) {
      using A = decltype(accessor);
      launch(ctx, "lora_down",
             {dim3(blocks_x(n), static_cast<unsigned>(count)), dim3(kBlock), 0, true}, lora_down<A>,
             rows_of<A>(a.x), parts, adapter_of_row, a.scratch.data<float>(), stride);
    });
    launch(ctx, "lora_up",
           {dim3(blocks_x(blocks), static_cast<unsigned>(n)), dim3(kBlock),
            static_cast<size_t>(largest) * sizeof(float), true},
           lora_up, parts, adapter_of_row, a.scratch.data<float>(), stride);
  }
}

}  // namespace offbook::ops::cuda
