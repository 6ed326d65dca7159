#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/gemv_parts_cuda.cuh"
#include "src/ops/norm_linear/unfused.h"

namespace offbook::ops::cuda {
namespace {

// Every block norms the rows of x for itself, into shared memory, while the first weights are on
// their way: reading them again from the L2 costs less than one more kernel in front.
struct NormGemv {
  const uint8_t* weights[kMostNormLinears];
  Output outputs[kMostNormLinears];
  int64_t tile_begins[kMostNormLinears + 1];  // of 16 rows (8 of each weight when gated)
  int64_t row_bytes;
  int groups;  // of a row of a weight
  Any x;
  int64_t x_stride;
  int n;
  int in;
  Any norm;
  float eps;
  int stages;
  int normed_bytes;  // of a row in shared memory
  bool settled;      // the first weights may be read before the kernel in front is done
};

constexpr int kNormThreads = 32 * kMmaWarps;
// Puts the eight rows of x that a warp reads at once into different banks.
constexpr int kNormPadding = 64;

// The first kNormThreads threads of the block: rms_norm of the rows, as bf16. Sums in an order that
// depends on `in` alone.
__device__ void norm_rows(const NormGemv& p, uint8_t* normed) {
  __shared__ float squares[kMmaWarps][kGemvRows];
  float sums[kGemvRows] = {};
  for (int i = threadIdx.x * 8; i < p.in; i += kNormThreads * 8) {
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) {
      if (r < p.n) {
        float v[8];
        p.x.get8(r * p.x_stride + i, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          sums[r] = fmaf(v[j], v[j], sums[r]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
    if (r < p.n) {
      sums[r] = warp_sum(sums[r]);
      if (threadIdx.x % 32 == 0) {
        squares[threadIdx.x / 32][r] = sums[r];
      }
    }
  }
  join_multipliers();
  float scales[kGemvRows];
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
    if (r < p.n) {
      float total = 0;
#pragma unroll
      for (int w = 0; w < kMmaWarps; ++w) {
        total += squares[w][r];
      }
      scales[r] = rsqrtf(total / static_cast<float>(p.in) + p.eps);
    }
  }
  for (int i = threadIdx.x * 8; i < p.in; i += kNormThreads * 8) {
    float w[8];
    p.norm.get8(i, w);
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) {
      if (r < p.n) {
        float v[8];
        p.x.get8(r * p.x_stride + i, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          v[j] *= scales[r] * w[j];
        }
        *reinterpret_cast<uint4*>(normed + r * p.normed_bytes + i * 2) = pack8(v);
      }
    }
  }
  join_multipliers();
}

// Which weight a tile belongs to, and where in it.
template <bool kGated>
struct Tile {
  int part = 0;
  int64_t first = 0;  // row of the weight

  __device__ Tile(const NormGemv& p, int64_t index) {
    if constexpr (kGated) {
      first = index * 8;
    } else {
#pragma unroll
      for (int i = 1; i < kMostNormLinears; ++i) {
        part += index >= p.tile_begins[i] ? 1 : 0;
      }
      first = (index - p.tile_begins[part]) * 16;
    }
  }
  // Row `of` (0…15) of the tile: gate and up alternate in eights.
  __device__ const uint8_t* row(const NormGemv& p, int of) const {
    const int which = kGated ? of / 8 : part;
    const int64_t wanted = first + (kGated ? of % 8 : of);
    return p.weights[which] + min(wanted, p.outputs[which].size - 1) * p.row_bytes;
  }
};

template <bool kGated>
__device__ void put_tile(const WarpParts& parts, const NormGemv& p, const Tile<kGated>& tile) {
  constexpr int kColumns = kGated ? 8 : 16;
  const int column = threadIdx.x % kColumns;
  const int row = threadIdx.x / kColumns;
  const Output& output = p.outputs[tile.part];
  if (row >= p.n || tile.first + column >= output.size) {
    return;
  }
  float total = 0;
  float up = 0;
#pragma unroll
  for (int w = 0; w < kMmaWarps; ++w) {
    total += parts[w][column][row];
    if constexpr (kGated) {
      up += parts[w][column + 8][row];
    }
  }
  if constexpr (kGated) {
    total = total * __fdividef(1.0f, 1.0f + __expf(-total)) * up;
  }
  output.put(row, tile.first + column, total);
}

template <Dtype kType, bool kGated>
__global__ void __launch_bounds__(kNormThreads, 2)
    norm_gemv_registers(const __grid_constant__ NormGemv p) {
  constexpr bool kSplit = splits_groups(kType);
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ WarpParts parts;
  if (!p.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const Tile<kGated> tile(p, blockIdx.x);
  const uint8_t* row0 = tile.row(p, g);
  const uint8_t* row1 = tile.row(p, g + 8);
  const auto* x_row = reinterpret_cast<const bf16*>(shared + min(g, p.n - 1) * p.normed_bytes);
  const bool has_x = g < p.n;
  RegisterRows<kType> rows(row0, row1, p.groups);
  rows.start();
  if (p.settled) {
    wait_for_predecessor();
  }
  norm_rows(p, shared);
  float sum[4] = {};
  rows.multiply([](int) {},
                [&](int, int group) {
                  return has_x ? load_x<kSplit>(x_row, group, t) : make_uint4(0, 0, 0, 0);
                },
                sum);
  store_part(parts, warp, sum);
  __syncthreads();
  put_tile(parts, p, tile);
}

// As gemv_stream, with x from shared memory behind which the stages lie.
template <Dtype kType, bool kGated>
__global__ void __launch_bounds__(kStreamThreads, 2)
    norm_gemv_stream(const __grid_constant__ NormGemv p) {
  constexpr bool kSplit = splits_groups(kType);
  constexpr int kMostStages = 16;
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ WarpParts parts[2];
  __shared__ __align__(8) uint64_t barriers[2][kMostStages];
  StageRing<kType> ring(shared + (p.n * p.normed_bytes + 127) / 128 * 128, p.stages, barriers[0],
                        barriers[1]);
  ring.open();
  if (!p.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int64_t tiles = p.tile_begins[kMostNormLinears];
  if (warp == kMmaWarps) {
    for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
      ring.ask_for(Tile<kGated>(p, index).row(p, lane % 16), p.groups);
    }
    return;
  }
  if (p.settled) {
    wait_for_predecessor();
  }
  norm_rows(p, shared);
  const int g = lane / 4;
  const int t = lane % 4;
  const auto* x_row = reinterpret_cast<const bf16*>(shared + min(g, p.n - 1) * p.normed_bytes);
  const bool has_x = g < p.n;
  int parity = 0;
  for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x, parity ^= 1) {
    float sum[4] = {};
    ring.multiply(
        p.groups, [](int) {},
        [&](int, int group) {
          return has_x ? load_x<kSplit>(x_row, group, t) : make_uint4(0, 0, 0, 0);
        },
        sum);
    // Two sets of sums in turn: a thread can be at most one tile ahead of another.
    store_part(parts[parity], warp, sum);
    join_multipliers();
    put_tile(parts[parity], p, Tile<kGated>(p, index));
  }
}

// Of a block, besides 10 KiB of its own. Two blocks stay below 196 KiB, as plain products do: with
// 211 KiB, which leave the kernels behind 28 KiB of L1, attention over long caches took up to 22%
// longer.
constexpr int64_t kSharedOfTwoBlocks = 86 << 10;
constexpr int64_t kSharedOfOneBlock = 200 << 10;
constexpr int64_t kNormedOfTwoBlocks = 20 << 10;

// One launch for all tiles. False when the rows leave too little room for weights.
template <Dtype kType, bool kGated>
bool launch_gemv(const ExecutionContext& ctx, NormGemv& p) {
  const int64_t tiles = p.tile_begins[kMostNormLinears];
  const int64_t normed = div_up(int64_t{p.n} * p.normed_bytes, 128) * 128;
  if constexpr (group_bytes(kType) > 0) {
    bool can = true;
    for (int i = 0; i < kMostNormLinears; ++i) {
      can = can &&
            (p.weights[i] == nullptr || streams<kType>(ctx, p.weights[i], p.row_bytes, p.groups));
    }
    if (can) {
      constexpr int64_t kStageBytes = int64_t{16} * Stage<kType>::kRowBytes;
      const bool two = normed <= kNormedOfTwoBlocks;
      const int64_t room = (two ? kSharedOfTwoBlocks : kSharedOfOneBlock) - normed;
      p.stages = static_cast<int>(std::min<int64_t>(16, room / kStageBytes));
      if (p.stages < 3) {
        return false;
      }
      const int64_t most = (two ? 2 : 1) * static_cast<int64_t>(ctx.cuda->device.multiprocessors);
      launch(ctx, kGated ? "norm_swiglu_stream" : "norm_gemv_stream",
             {dim3(blocks_x(std::min(tiles, most))), dim3(kStreamThreads),
              static_cast<size_t>(normed + p.stages * kStageBytes), true},
             norm_gemv_stream<kType, kGated>, p);
      return true;
    }
  }
  if (normed > kSharedOfTwoBlocks) {
    return false;
  }
  launch(ctx, kGated ? "norm_swiglu_registers" : "norm_gemv_registers",
         {dim3(blocks_x(tiles)), dim3(kNormThreads), static_cast<size_t>(normed), true},
         norm_gemv_registers<kType, kGated>, p);
  return true;
}

template <bool kGated>
bool launch_of_type(const ExecutionContext& ctx, Dtype type, NormGemv& p) {
  switch (type) {
    case Dtype::bf16:
      return launch_gemv<Dtype::bf16, kGated>(ctx, p);
    case Dtype::q8_0:
      return launch_gemv<Dtype::q8_0, kGated>(ctx, p);
    case Dtype::q4_0:
      return launch_gemv<Dtype::q4_0, kGated>(ctx, p);
    case Dtype::q4_1:
      return launch_gemv<Dtype::q4_1, kGated>(ctx, p);
    default:
      return false;
  }
}

Output output_of(const Tensor& out, const Tensor& bias) {
  return {.out = elements<Any>(out),
          .stride = out.stride(0),
          .n = out.dim(0),
          .size = out.dim(1),
          .bias = bias.defined() ? bias.data<float>() : nullptr,
          .alpha = 1.0f,
          .accumulate = false};
}

// Whether one kernel can norm the rows and read both weights.
bool fits(const ExecutionContext& ctx, const NormedRows& rows, const Tensor& first,
          const Tensor& other) {
  const int64_t n = rows.x.dim(0);
  return n > 0 && n <= kGemvRows && first.dtype() == other.dtype() &&
         first.row_stride_bytes() == other.row_stride_bytes() && fits_mma(ctx, first) &&
         fits_mma(ctx, other) && other.dim(0) > 0 && rows_of<Any>(rows.x).aligned &&
         rows_of<Any>(rows.weight).aligned;
}

NormGemv gemv_of(const ExecutionContext& ctx, const NormedRows& rows, const Tensor& weight) {
  const int64_t in = rows.x.dim(1);
  return {.weights = {},
          .outputs = {},
          .tile_begins = {},
          .row_bytes = weight.row_stride_bytes(),
          .groups = static_cast<int>(in / kGroup),
          .x = elements<Any>(rows.x),
          .x_stride = rows.x.stride(0),
          .n = static_cast<int>(rows.x.dim(0)),
          .in = static_cast<int>(in),
          .norm = elements<Any>(rows.weight),
          .eps = rows.eps,
          .stages = 0,
          .normed_bytes = static_cast<int>(in * 2 + kNormPadding),
          .settled = ctx.cuda->weights_are_settled};
}

struct Ops {
  static void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) {
    cuda::rms_norm(ctx, a);
  }
  static void linear(const ExecutionContext& ctx, const LinearArgs& a) { cuda::linear(ctx, a); }
  static void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) { cuda::swiglu(ctx, a); }
};

}  // namespace

void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& a) {
  bool fused = true;
  for (const Tensor& weight : a.weights) {
    fused = fused && (!weight.defined() || fits(ctx, a.rows, a.weights[0], weight));
  }
  if (fused) {
    NormGemv p = gemv_of(ctx, a.rows, a.weights[0]);
    for (size_t i = 0; i < a.weights.size(); ++i) {
      const Tensor& weight = a.weights[i];
      p.tile_begins[i + 1] = p.tile_begins[i];
      if (weight.defined()) {
        p.weights[i] = reinterpret_cast<const uint8_t*>(weight.raw());
        p.outputs[i] = output_of(a.outs[i], a.biases[i]);
        p.tile_begins[i + 1] += div_up(weight.dim(0), 16);
      }
    }
    if (launch_of_type<false>(ctx, a.weights[0].dtype(), p)) {
      return;
    }
  }
  norm_linear_unfused<Ops>(ctx, a);
}

void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  if (fits(ctx, a.rows, a.gate, a.gate) && fits(ctx, a.rows, a.gate, a.up)) {
    NormGemv p = gemv_of(ctx, a.rows, a.gate);
    p.weights[0] = reinterpret_cast<const uint8_t*>(a.gate.raw());
    p.weights[1] = reinterpret_cast<const uint8_t*>(a.up.raw());
    p.outputs[0] = p.outputs[1] = output_of(a.out, Tensor());
    p.tile_begins[kMostNormLinears] = div_up(a.gate.dim(0), 8);
    if (launch_of_type<true>(ctx, a.gate.dtype(), p)) {
      return;
    }
  }
  norm_swiglu_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::cuda
