#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/gemv_parts_cuda.cuh"
#include "src/ops/linear/matmul_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

Output output_of(const LinearArgs& a) {
  return {.out = elements<Any>(a.out),
          .stride = a.out.stride(0),
          .n = a.x.dim(0),
          .size = a.weight.dim(0),
          .bias = a.bias.defined() ? a.bias.data<float>() : nullptr,
          .alpha = a.alpha,
          .accumulate = a.write == Write::accumulate};
}

__device__ void put_total(const WarpParts& parts, int64_t first, const Output& output) {
  const int column = threadIdx.x % 16;
  const int row = threadIdx.x / 16;
  if (row < output.n && first + column < output.size) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kMmaWarps; ++w) {
      total += parts[w][column][row];
    }
    output.put(row, first + column, total);
  }
}

struct Gemv {
  const uint8_t* weight;
  int64_t row_bytes;
  int groups;  // of a row
  const bf16* x;
  int64_t x_stride;
  Output output;
  bool settled;  // the first weights may be read before the kernel in front is done
};

// Weights from memory to registers; the warps of a block take every eighth group of 32 columns.
template <Dtype kType>
__global__ void __launch_bounds__(32 * kMmaWarps, 2) gemv_mma(const __grid_constant__ Gemv p) {
  constexpr bool kSplit = splits_groups(kType);
  __shared__ WarpParts parts;
  if (!p.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * 16;
  const uint8_t* row0 = p.weight + min(first + g, p.output.size - 1) * p.row_bytes;
  const uint8_t* row1 = p.weight + min(first + g + 8, p.output.size - 1) * p.row_bytes;
  const bf16* x_row = p.x + min(static_cast<int64_t>(g), p.output.n - 1) * p.x_stride;
  const bool has_x = g < p.output.n;
  RegisterRows<kType> rows(row0, row1, p.groups);
  rows.start();
  if (p.settled) {
    wait_for_predecessor();
  }
  float sum[4] = {};
  uint4 x[kAhead];
  rows.multiply(
      [&](int base) {
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          const int group = base + u * kMmaWarps;
          x[u] =
              has_x && group < p.groups ? load_x<kSplit>(x_row, group, t) : make_uint4(0, 0, 0, 0);
        }
      },
      [&](int u, int) { return x[u]; }, sum);
  store_part(parts, warp, sum);
  __syncthreads();
  put_total(parts, first, p.output);
}

// Weights through shared memory by the bulk copy engine, which keeps 96 KiB under way for each
// block whatever the warps are waiting for. The last warp asks for them; the others multiply. A
// block takes every gridDim.x-th set of 16 rows, and its copies run on from one into the next.
template <Dtype kType>
__global__ void __launch_bounds__(kStreamThreads, 2) gemv_stream(const __grid_constant__ Gemv p) {
  using S = Stage<kType>;
  constexpr bool kSplit = splits_groups(kType);
  extern __shared__ __align__(128) uint8_t stages[];
  __shared__ WarpParts parts[2];
  __shared__ __align__(8) uint64_t barriers[2][S::kStages];
  StageRing<kType> ring(stages, S::kStages, barriers[0], barriers[1]);
  ring.open();
  if (!p.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int64_t tiles = (p.output.size + 15) / 16;
  if (warp == kMmaWarps) {
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      ring.ask_for(p.weight + min(tile * 16 + lane % 16, p.output.size - 1) * p.row_bytes,
                   p.groups);
    }
    return;
  }
  if (p.settled) {
    wait_for_predecessor();
  }
  const int g = lane / 4;
  const int t = lane % 4;
  const bf16* x_row = p.x + min(static_cast<int64_t>(g), p.output.n - 1) * p.x_stride;
  const bool has_x = g < p.output.n;
  int parity = 0;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, parity ^= 1) {
    float sum[4] = {};
    uint4 x[S::kGroupsPerWarp];
    ring.multiply(
        p.groups,
        [&](int step) {
#pragma unroll
          for (int u = 0; u < S::kGroupsPerWarp; ++u) {
            const int group = step * S::kGroups + warp + u * kMmaWarps;
            x[u] = has_x && group < p.groups ? load_x<kSplit>(x_row, group, t)
                                             : make_uint4(0, 0, 0, 0);
          }
        },
        [&](int u, int) { return x[u]; }, sum);
    // Two sets of sums in turn: a thread can be at most one tile ahead of another.
    store_part(parts[parity], warp, sum);
    join_multipliers();
    put_total(parts[parity], tile * 16, p.output);
  }
}

template <Dtype kType>
void launch_mma(const ExecutionContext& ctx, const LinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor x = as_factor(ctx, a.x);
  const Gemv p{.weight = reinterpret_cast<const uint8_t*>(a.weight.raw()),
               .row_bytes = a.weight.row_stride_bytes(),
               .groups = static_cast<int>(x.dim(1) / kGroup),
               .x = x.data<bf16>(),
               .x_stride = x.stride(0),
               .output = output_of(a),
               .settled = ctx.cuda->weights_are_settled};
  const int64_t tiles = div_up(a.weight.dim(0), 16);
  if constexpr (group_bytes(kType) > 0) {
    if (streams<kType>(ctx, p.weight, p.row_bytes, p.groups)) {
      const int64_t most = 2 * static_cast<int64_t>(ctx.cuda->device.multiprocessors);
      launch(ctx, "gemv_stream",
             {dim3(blocks_x(std::min(tiles, most))), dim3(kStreamThreads), Stage<kType>::kShared,
              true},
             gemv_stream<kType>, p);
      return;
    }
  }
  launch(ctx, "gemv_mma", {dim3(blocks_x(tiles)), dim3(32 * kMmaWarps), 0, true}, gemv_mma<kType>,
         p);
}

constexpr int kAnyWarps = 8;

__device__ float rounded(float x, bool to_bf16) {
  return to_bf16 ? __bfloat162float(__float2bfloat16_rn(x)) : x;
}

// A warp for each row of the weight, eight threads' groups of 32 columns at a time, f32 sums.
template <class A>
__global__ void __launch_bounds__(32 * kAnyWarps)
    gemv_any(WeightRows weight, RowsOf<A> x, int64_t first_row, bool to_bf16, Output output) {
  const int64_t o = static_cast<int64_t>(blockIdx.x) * kAnyWarps + threadIdx.x / 32;
  if (o >= weight.rows) {
    return;
  }
  const int lane = threadIdx.x % 32;
  const int t = lane % 4;
  const int rows = static_cast<int>(min(kGemvRows, output.n - first_row));
  float sum[kGemvRows] = {};
  for (int64_t group = lane / 4; group * kGroup < weight.cols; group += 8) {
    float w[8];
    weight.get8(o, group, t, w);
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) {
      if (r < rows) {
        const A row = x.row(first_row + r);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const int64_t i = group * kGroup + group_place(weight.splits(), t, j);
          if (i < weight.cols) {
            sum[r] = fmaf(rounded(w[j], to_bf16), rounded(row.get(i), to_bf16), sum[r]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
    const float total = warp_sum(sum[r]);
    if (lane == 0 && r < rows) {
      output.put(first_row + r, o, total);
    }
  }
}

}  // namespace

void linear_any(const ExecutionContext& ctx, const LinearArgs& a) {
  const Launch shape{dim3(blocks_x(div_up(a.weight.dim(0), kAnyWarps))), dim3(32 * kAnyWarps)};
  with_elements({&a.x}, [&](auto accessor) {
    using A = decltype(accessor);
    for (int64_t first = 0; first < a.x.dim(0); first += kGemvRows) {
      launch(ctx, "gemv_any", shape, gemv_any<A>, weight_rows(a.weight), rows_of<A>(a.x), first,
             ctx.compute == Compute::bf16, output_of(a));
    }
  });
}

void gemv(const ExecutionContext& ctx, const LinearArgs& a) {
  if (!fits_mma(ctx, a.weight)) {
    return linear_any(ctx, a);
  }
  switch (a.weight.dtype()) {
    case Dtype::bf16:
      return launch_mma<Dtype::bf16>(ctx, a);
    case Dtype::q8_0:
      return launch_mma<Dtype::q8_0>(ctx, a);
    case Dtype::q4_0:
      return launch_mma<Dtype::q4_0>(ctx, a);
    case Dtype::q4_1:
      return launch_mma<Dtype::q4_1>(ctx, a);
    case Dtype::q4_k:
      return launch_mma<Dtype::q4_k>(ctx, a);
    case Dtype::q6_k:
      return launch_mma<Dtype::q6_k>(ctx, a);
    default:
      return linear_any(ctx, a);
  }
}

}  // namespace offbook::ops::cuda
