#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/gemv_parts_cuda.cuh"
#include "src/ops/norm_linear/norm_linear_cuda.cuh"
#include "src/ops/norm_linear/unfused.h"

namespace offbook::ops::cuda {
namespace {

// What becomes of a tile of 16 products of each row.
enum class End : uint8_t {
  plain,   // 16 rows of one weight, as they are
  gated,   // 8 rows of gate and the same of up: their SwiGLU
  turned,  // 8 rows of a head and those dim / 2 behind them: RoPE, and keys and values to pages
};

// Where heads go that RoPE turned.
struct Turned {
  const float* table;
  const int32_t* slots;
  Any q, k, v;
  int64_t q_stride;  // of a row
  int heads;
  int kv_heads;
  int dim;
};

// Every block norms the rows of x for itself, into shared memory, while the first weights are on
// their way: reading them again from the L2 costs less than one more kernel in front.
struct NormGemv {
  const uint8_t* weights[kMostNormLinears];
  Output outputs[kMostNormLinears];
  int64_t tile_begins[kMostNormLinears + 1];
  Turned turned;
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
template <End kEnd>
struct Tile {
  int part = 0;
  int64_t first = 0;  // row of the weight

  __device__ Tile(const NormGemv& p, int64_t index) {
    if constexpr (kEnd == End::gated) {
      first = index * 8;
    } else if constexpr (kEnd == End::turned) {
      const int half_tiles = p.turned.dim / 16;
      first = index / half_tiles * p.turned.dim + index % half_tiles * 8;
    } else {
#pragma unroll
      for (int i = 1; i < kMostNormLinears; ++i) {
        part += index >= p.tile_begins[i] ? 1 : 0;
      }
      first = (index - p.tile_begins[part]) * 16;
    }
  }
  // Row `of` (0…15) of the tile: the two kinds of rows of a pair alternate in eights.
  __device__ const uint8_t* row(const NormGemv& p, int of) const {
    const int which = kEnd == End::gated ? of / 8 : part;
    int64_t wanted = first + (kEnd == End::plain ? of : of % 8);
    if constexpr (kEnd == End::turned) {
      wanted += of / 8 * (p.turned.dim / 2);
    }
    return p.weights[which] + min(wanted, p.outputs[which].size - 1) * p.row_bytes;
  }
};

// As kv_write: what enters the rotation was rounded to the type of q.
__device__ void put_turned(const Turned& to, int row, int64_t first, float low, float high) {
  if (to.q.is_bf16) {
    low = __bfloat162float(__float2bfloat16_rn(low));
    high = __bfloat162float(__float2bfloat16_rn(high));
  }
  const int head = static_cast<int>(first / to.dim);
  const int i = static_cast<int>(first % to.dim);
  const int half = to.dim / 2;
  if (head < to.heads + to.kv_heads) {
    const float c = to.table[row * to.dim + i];
    const float s = to.table[row * to.dim + half + i];
    const float turned = low * c - high * s;
    high = high * c + low * s;
    low = turned;
  }
  if (head < to.heads) {
    const int64_t at = row * to.q_stride + first;
    to.q.set(at, low);
    to.q.set(at + half, high);
    return;
  }
  const Any& pages = head < to.heads + to.kv_heads ? to.k : to.v;
  const int64_t at =
      (int64_t{to.slots[row]} * to.kv_heads + (head - to.heads) % to.kv_heads) * to.dim + i;
  pages.set(at, low);
  pages.set(at + half, high);
}

template <End kEnd>
__device__ void put_tile(const WarpParts& parts, const NormGemv& p, const Tile<kEnd>& tile) {
  constexpr int kColumns = kEnd == End::plain ? 16 : 8;
  const int column = threadIdx.x % kColumns;
  const int row = threadIdx.x / kColumns;
  const Output& output = p.outputs[tile.part];
  if (row >= p.n || tile.first + column >= output.size) {
    return;
  }
  float total = 0;
  float other = 0;
#pragma unroll
  for (int w = 0; w < kMmaWarps; ++w) {
    total += parts[w][column][row];
    if constexpr (kEnd != End::plain) {
      other += parts[w][column + 8][row];
    }
  }
  if constexpr (kEnd == End::turned) {
    put_turned(p.turned, row, tile.first + column, total, other);
    return;
  }
  if constexpr (kEnd == End::gated) {
    total = total * __fdividef(1.0f, 1.0f + __expf(-total)) * other;
  }
  output.put(row, tile.first + column, total);
}

template <Dtype kType, End kEnd>
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
  const Tile<kEnd> tile(p, blockIdx.x);
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
template <Dtype kType, End kEnd>
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
      ring.ask_for(Tile<kEnd>(p, index).row(p, lane % 16), p.groups);
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
    put_tile(parts[parity], p, Tile<kEnd>(p, index));
  }
}

// Of a block, besides 10 KiB of its own. Two blocks stay below 196 KiB, as plain products do: with
// 211 KiB, which leave the kernels behind 28 KiB of L1, attention over long caches took up to 22%
// longer.
constexpr int64_t kSharedOfTwoBlocks = 86 << 10;
constexpr int64_t kSharedOfOneBlock = 200 << 10;
constexpr int64_t kNormedOfTwoBlocks = 20 << 10;

constexpr const char* name_of(End end) {
  return end == End::plain ? "norm_gemv" : end == End::gated ? "norm_swiglu" : "norm_project_kv";
}

// One launch for all tiles. False when the rows leave too little room for weights.
template <Dtype kType, End kEnd>
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
      launch(ctx, name_of(kEnd),
             {dim3(blocks_x(std::min(tiles, most))), dim3(kStreamThreads),
              static_cast<size_t>(normed + p.stages * kStageBytes), true},
             norm_gemv_stream<kType, kEnd>, p);
      return true;
    }
  }
  if (normed > kSharedOfTwoBlocks) {
    return false;
  }
  launch(ctx, name_of(kEnd),
         {dim3(blocks_x(tiles)), dim3(kNormThreads), static_cast<size_t>(normed), true},
         norm_gemv_registers<kType, kEnd>, p);
  return true;
}

template <End kEnd>
bool launch_of_type(const ExecutionContext& ctx, Dtype type, NormGemv& p) {
  switch (type) {
    case Dtype::bf16:
      return launch_gemv<Dtype::bf16, kEnd>(ctx, p);
    case Dtype::q8_0:
      return launch_gemv<Dtype::q8_0, kEnd>(ctx, p);
    case Dtype::q4_0:
      return launch_gemv<Dtype::q4_0, kEnd>(ctx, p);
    case Dtype::q4_1:
      return launch_gemv<Dtype::q4_1, kEnd>(ctx, p);
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
          .turned = {},
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
    if (launch_of_type<End::plain>(ctx, a.weights[0].dtype(), p)) {
      return;
    }
  }
  norm_linear_unfused<Ops>(ctx, a);
}

bool project_kv(const ExecutionContext& ctx, const ProjectKv& a) {
  const int64_t dim = a.k_pages.dim(3);
  if (dim % 16 != 0 || !fits(ctx, a.rows, a.weight, a.weight) || !a.k_pages.is_contiguous() ||
      !a.v_pages.is_contiguous() || a.q.stride(1) != dim || a.q.stride(2) != 1) {
    return false;
  }
  NormGemv p = gemv_of(ctx, a.rows, a.weight);
  p.weights[0] = reinterpret_cast<const uint8_t*>(a.weight.raw());
  p.outputs[0].size = a.weight.dim(0);
  p.tile_begins[kMostNormLinears] = a.weight.dim(0) / 16;
  p.turned = {.table = a.table.data<float>(),
              .slots = a.slots.data<int32_t>(),
              .q = elements<Any>(a.q),
              .k = elements<Any>(a.k_pages),
              .v = elements<Any>(a.v_pages),
              .q_stride = a.q.stride(0),
              .heads = static_cast<int>(a.q.dim(1)),
              .kv_heads = static_cast<int>(a.k_pages.dim(2)),
              .dim = static_cast<int>(dim)};
  return launch_of_type<End::turned>(ctx, a.weight.dtype(), p);
}

void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  if (fits(ctx, a.rows, a.gate, a.gate) && fits(ctx, a.rows, a.gate, a.up)) {
    NormGemv p = gemv_of(ctx, a.rows, a.gate);
    p.weights[0] = reinterpret_cast<const uint8_t*>(a.gate.raw());
    p.weights[1] = reinterpret_cast<const uint8_t*>(a.up.raw());
    p.outputs[0] = p.outputs[1] = output_of(a.out, Tensor());
    p.tile_begins[kMostNormLinears] = div_up(a.gate.dim(0), 8);
    if (launch_of_type<End::gated>(ctx, a.gate.dtype(), p)) {
      return;
    }
  }
  norm_swiglu_unfused<Ops>(ctx, a);
}

}  // namespace offbook::ops::cuda
