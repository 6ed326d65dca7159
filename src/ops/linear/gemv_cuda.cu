#include "src/ops/cuda/bulk.cuh"
#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/gemv_cuda.cuh"
#include "src/ops/linear/matmul_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

struct Output {
  Any out;
  int64_t stride;
  int64_t n;     // rows of x
  int64_t size;  // columns of out, rows of the weight
  const float* bias;
  float alpha;
  bool accumulate;

  __device__ void put(int64_t row, int64_t column, float sum) const {
    const int64_t at = row * stride + column;
    sum = alpha * sum + (bias != nullptr ? bias[column] : 0.0f);
    out.set(at, accumulate ? out.get(at) + sum : sum);
  }
};

Output output_of(const LinearArgs& a) {
  return {.out = elements<Any>(a.out),
          .stride = a.out.stride(0),
          .n = a.x.dim(0),
          .size = a.weight.dim(0),
          .bias = a.bias.defined() ? a.bias.data<float>() : nullptr,
          .alpha = a.alpha,
          .accumulate = a.write == Write::accumulate};
}

constexpr int kMmaWarps = 8;
constexpr int kAhead = 4;  // groups of a row that each thread has under way

__device__ float half_bits(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// What a thread reads of one group of 32 weights: raw bits first, numbers when their turn comes, so
// that several reads are under way at once. K blocks are decoded as they are read.
template <Dtype kType, bool kShared>
struct RawGroup {
  uint4 bits;

  __device__ void load(const uint8_t* row, int64_t group, int t) {
    if constexpr (kType == Dtype::bf16) {
      const auto* at = reinterpret_cast<const uint4*>(row + group * 64 + t * 16);
      bits = kShared ? *at : __ldcs(at);
    } else if constexpr (kType == Dtype::q4_1) {  // blocks of 20 bytes: words are aligned
      const auto* words = reinterpret_cast<const uint32_t*>(row + group * 20);
      bits.x = words[1 + t];
      bits.y = words[0];
    } else if constexpr (kType == Dtype::q4_0) {
      const uint8_t* block = row + group * 18;
      bits.x = u32_at(block + 2 + 4 * t);
      bits.y = u16_at(block);
    } else if constexpr (kType == Dtype::q8_0) {
      const uint8_t* block = row + group * 34;
      bits.x = u32_at(block + 2 + 8 * t);
      bits.y = u32_at(block + 6 + 8 * t);
      bits.z = u16_at(block);
    } else {
      float v[8];
      load_group<kType>(row, group, t, v);
      bits = pack8(v);
    }
  }

  // Four pairs of neighbours as bf16. Quantised integers become floats by their place in the
  // mantissa of 128 or 2^23 (exact), not by conversion instructions, which run at a quarter of the
  // rate.
  __device__ void decode(uint32_t (&pairs)[4]) const {
    if constexpr (kType == Dtype::q4_0 || kType == Dtype::q4_1) {
      const float scale = half_bits(bits.y);
      const float offset =
          (kType == Dtype::q4_1 ? half_bits(bits.y >> 16) : -8 * scale) - 128 * scale;
      const auto value = [&](uint32_t nibble_at_16) {
        return fmaf(__uint_as_float((nibble_at_16 & 0x000f0000u) | 0x43000000u), scale, offset);
      };
      pairs[0] = pack(value(bits.x << 16), value(bits.x << 8));
      pairs[1] = pack(value(bits.x), value(bits.x >> 8));
      pairs[2] = pack(value(bits.x << 12), value(bits.x << 4));
      pairs[3] = pack(value(bits.x >> 4), value(bits.x >> 12));
    } else if constexpr (kType == Dtype::q8_0) {
      const float scale = half_bits(bits.z);
      const auto value = [&](uint32_t word, unsigned byte) {
        return (__uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440u + byte)) - 8388736.0f) *
               scale;
      };
      const uint32_t low = bits.x ^ 0x80808080u;
      const uint32_t high = bits.y ^ 0x80808080u;
      pairs[0] = pack(value(low, 0), value(low, 1));
      pairs[1] = pack(value(low, 2), value(low, 3));
      pairs[2] = pack(value(high, 0), value(high, 1));
      pairs[3] = pack(value(high, 2), value(high, 3));
    } else {
      pairs[0] = bits.x, pairs[1] = bits.y, pairs[2] = bits.z, pairs[3] = bits.w;
    }
  }
};

// The values of x that meet thread t's weights of a group, as pairs.
template <bool kSplit>
__device__ uint4 load_x(const bf16* row, int64_t group, int t) {
  const bf16* at = row + group * kGroup;
  if constexpr (kSplit) {
    const uint2 low = *reinterpret_cast<const uint2*>(at + 4 * t);
    const uint2 high = *reinterpret_cast<const uint2*>(at + 16 + 4 * t);
    return {low.x, low.y, high.x, high.y};
  } else {
    return *reinterpret_cast<const uint4*>(at + 8 * t);
  }
}

// One block's share: 16 rows of the weight with the (up to) 8 rows of x at once, on the tensor
// cores. Since both factors are permuted alike along k, no shuffle is needed. A column of the mma
// does not know of the others, and the warps' sums are added in a fixed order: same bits for n =
// 1…8.
__device__ void multiply_group(float (&sum)[4], const uint32_t (&w0)[4], const uint32_t (&w1)[4],
                               const uint4& x) {
  mma_bf16(sum, w0[0], w1[0], w0[1], w1[1], x.x, x.y);
  mma_bf16(sum, w0[2], w1[2], w0[3], w1[3], x.z, x.w);
}

using WarpParts = float[kMmaWarps][16][9];

__device__ void store_part(WarpParts& parts, int warp, const float (&sum)[4]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  parts[warp][g][2 * t] = sum[0];
  parts[warp][g][2 * t + 1] = sum[1];
  parts[warp][g + 8][2 * t] = sum[2];
  parts[warp][g + 8][2 * t + 1] = sum[3];
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
  RawGroup<kType, false> raw0[kAhead], raw1[kAhead];
  const auto load = [&](int u, int group) {
    if (group < p.groups) {
      raw0[u].load(row0, group, t);
      raw1[u].load(row1, group, t);
    }
  };
#pragma unroll
  for (int u = 0; u < kAhead; ++u) {
    load(u, warp + u * kMmaWarps);
  }
  if (p.settled) {
    wait_for_predecessor();
  }
  float sum[4] = {};
  for (int base = warp; base < p.groups; base += kMmaWarps * kAhead) {
    uint4 x[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int group = base + u * kMmaWarps;
      x[u] = has_x && group < p.groups ? load_x<kSplit>(x_row, group, t) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int group = base + u * kMmaWarps;
      if (group < p.groups) {  // the same for the whole warp
        uint32_t w0[4], w1[4];
        raw0[u].decode(w0);
        raw1[u].decode(w1);
        load(u, group + kMmaWarps * kAhead);
        multiply_group(sum, w0, w1, x[u]);
      }
    }
  }
  store_part(parts, warp, sum);
  __syncthreads();
  put_total(parts, first, p.output);
}

// Bytes of a group of 32 values; 0 for types that do not stream.
constexpr int group_bytes(Dtype type) {
  switch (type) {
    case Dtype::bf16:
      return 64;
    case Dtype::q8_0:
      return 34;
    case Dtype::q4_0:
      return 18;
    case Dtype::q4_1:
      return 20;
    default:
      return 0;
  }
}

// How weights of a type stream through shared memory: 16 rows of kGroups groups a stage. The
// padding puts what a warp reads at once into different banks: 16 bytes of two rows, or words of
// eight.
template <Dtype kType>
struct Stage {
  static constexpr int kGroups = kType == Dtype::bf16 ? 16 : 32;
  static constexpr int kBytes = kGroups * group_bytes(kType);  // of a row
  static constexpr int kPadding = kType == Dtype::bf16 ? 64 : 16;
  static constexpr int kRowBytes = (kBytes + 127) / 128 * 128 + kPadding;
  static constexpr int kStages = 98304 / (16 * kRowBytes);  // two blocks fill a multiprocessor
  static constexpr size_t kShared = size_t{kStages} * 16 * kRowBytes;
  static constexpr int kGroupsPerWarp = kGroups / kMmaWarps;
  static_assert(kBytes % 16 == 0 && kGroups % kMmaWarps == 0);
};

constexpr int kStreamThreads = 32 * (kMmaWarps + 1);

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
  const uint32_t full = shared_address(barriers[0]);
  const uint32_t empty = shared_address(barriers[1]);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kStages; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, kMmaWarps);
    }
    barrier_init_done();
  }
  __syncthreads();
  if (!p.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int64_t tiles = (p.output.size + 15) / 16;
  const int steps = (p.groups + S::kGroups - 1) / S::kGroups;
  int stage = 0;
  uint32_t phase = 0;
  const auto next = [&] {
    if (++stage == S::kStages) {
      stage = 0;
      phase ^= 1;
    }
  };
  if (warp == kMmaWarps) {
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const uint8_t* row = p.weight + min(tile * 16 + lane % 16, p.output.size - 1) * p.row_bytes;
      for (int step = 0; step < steps; ++step, next()) {
        const int left = p.groups - step * S::kGroups;
        const uint32_t bytes = min(left, S::kGroups) * group_bytes(kType);
        barrier_wait(empty + 8 * stage, phase ^ 1);
        if (lane == 0) {
          barrier_expect(full + 8 * stage, 16 * bytes);
        }
        __syncwarp();
        if (lane < 16) {
          copy_bulk(shared_address(stages + (stage * 16 + lane) * S::kRowBytes),
                    row + static_cast<int64_t>(step) * S::kBytes, bytes, full + 8 * stage);
        }
      }
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
    for (int step = 0; step < steps; ++step, next()) {
      uint4 x[S::kGroupsPerWarp];
#pragma unroll
      for (int u = 0; u < S::kGroupsPerWarp; ++u) {
        const int group = step * S::kGroups + warp + u * kMmaWarps;
        x[u] = has_x && group < p.groups ? load_x<kSplit>(x_row, group, t) : make_uint4(0, 0, 0, 0);
      }
      barrier_wait(full + 8 * stage, phase);
      const uint8_t* row0 = stages + (stage * 16 + g) * S::kRowBytes;
      RawGroup<kType, true> raw0[S::kGroupsPerWarp], raw1[S::kGroupsPerWarp];
#pragma unroll
      for (int u = 0; u < S::kGroupsPerWarp; ++u) {
        raw0[u].load(row0, warp + u * kMmaWarps, t);
        raw1[u].load(row0 + 8 * S::kRowBytes, warp + u * kMmaWarps, t);
      }
      __syncwarp();
      if (lane == 0) {
        barrier_arrive(empty + 8 * stage);
      }
#pragma unroll
      for (int u = 0; u < S::kGroupsPerWarp; ++u) {
        if (step * S::kGroups + warp + u * kMmaWarps < p.groups) {  // what is past the end is old
          uint32_t w0[4], w1[4];
          raw0[u].decode(w0);
          raw1[u].decode(w1);
          multiply_group(sum, w0, w1, x[u]);
        }
      }
    }
    // Two sets of sums in turn: a thread can be at most one tile ahead of another.
    store_part(parts[parity], warp, sum);
    asm volatile("bar.sync 1, %0;" ::"n"(32 * kMmaWarps) : "memory");
    put_total(parts[parity], tile * 16, p.output);
  }
}

// Rows this long make up for the start of the pipeline; shorter ones go straight to registers.
constexpr int64_t kShortestStreamBytes = 1024;

template <Dtype kType>
bool can_stream(const ExecutionContext& ctx, const Gemv& p) {
  return ctx.cuda->device.major >= 9 && p.row_bytes % 16 == 0 &&
         p.row_bytes >= kShortestStreamBytes && reinterpret_cast<uintptr_t>(p.weight) % 16 == 0 &&
         p.groups % Stage<kType>::kGroups * group_bytes(kType) % 16 == 0;
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
    if (can_stream<kType>(ctx, p)) {
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

// Whether gemv_mma can read the weight in whole aligned groups.
bool fits_mma(const ExecutionContext& ctx, const LinearArgs& a) {
  const bool words =
      a.weight.dtype() != Dtype::q4_1 || (reinterpret_cast<uintptr_t>(a.weight.raw()) |
                                          static_cast<uintptr_t>(a.weight.row_stride_bytes())) %
                                                 4 ==
                                             0;
  return ctx.compute == Compute::bf16 && a.x.dim(1) % kGroup == 0 && a.x.dim(1) > 0 && words &&
         weight_rows(a.weight).aligned;
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
  if (!fits_mma(ctx, a)) {
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
