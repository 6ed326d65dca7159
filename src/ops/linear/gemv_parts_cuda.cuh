// Pieces of the kernels that multiply a weight with up to eight rows: how weights are read and
// decoded, and how a block's warps share 16 rows of the weight.
#pragma once
#include "src/ops/cuda/bulk.cuh"
#include "src/ops/linear/gemv_cuda.cuh"

namespace offbook::ops::cuda {

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

inline constexpr int kMmaWarps = 8;
inline constexpr int kAhead = 4;  // groups of a row that each thread has under way

__device__ inline float half_bits(uint32_t bits) {
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
__device__ inline void multiply_group(float (&sum)[4], const uint32_t (&w0)[4],
                                      const uint32_t (&w1)[4], const uint4& x) {
  mma_bf16(sum, w0[0], w1[0], w0[1], w1[1], x.x, x.y);
  mma_bf16(sum, w0[2], w1[2], w0[3], w1[3], x.z, x.w);
}

using WarpParts = float[kMmaWarps][16][9];

__device__ inline void store_part(WarpParts& parts, int warp, const float (&sum)[4]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  parts[warp][g][2 * t] = sum[0];
  parts[warp][g][2 * t + 1] = sum[1];
  parts[warp][g + 8][2 * t] = sum[2];
  parts[warp][g + 8][2 * t + 1] = sum[3];
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

inline constexpr int kStreamThreads = 32 * (kMmaWarps + 1);

// Rows g and g + 8 of a tile from memory to registers; the warps of a block take every eighth
// group.
template <Dtype kType>
struct RegisterRows {
  const uint8_t* row0;
  const uint8_t* row1;
  int groups;  // of a row
  RawGroup<kType, false> raw0[kAhead], raw1[kAhead];

  __device__ RegisterRows(const uint8_t* first, const uint8_t* second, int count)
      : row0(first), row1(second), groups(count) {}

  __device__ void load(int u, int group) {
    if (group < groups) {
      raw0[u].load(row0, group, threadIdx.x % 4);
      raw1[u].load(row1, group, threadIdx.x % 4);
    }
  }
  __device__ void start() {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      load(u, threadIdx.x / 32 + u * kMmaWarps);
    }
  }
  // Calls ahead(base) for every kAhead groups, then x_of(u, group) for the values that meet one.
  template <class Ahead, class X>
  __device__ void multiply(const Ahead& ahead, const X& x_of, float (&sum)[4]) {
    for (int base = threadIdx.x / 32; base < groups; base += kMmaWarps * kAhead) {
      ahead(base);
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int group = base + u * kMmaWarps;
        if (group < groups) {  // the same for the whole warp
          uint32_t w0[4], w1[4];
          raw0[u].decode(w0);
          raw1[u].decode(w1);
          load(u, group + kMmaWarps * kAhead);
          multiply_group(sum, w0, w1, x_of(u, group));
        }
      }
    }
  }
};

// A ring of stages in shared memory, which one warp fills by bulk copies and the others empty.
template <Dtype kType>
struct StageRing {
  using S = Stage<kType>;
  uint8_t* stages;
  int count;
  uint32_t full;  // barriers, one a stage
  uint32_t empty;
  int stage = 0;
  uint32_t phase = 0;

  __device__ StageRing(uint8_t* memory, int stage_count, const uint64_t* full_barriers,
                       const uint64_t* empty_barriers)
      : stages(memory),
        count(stage_count),
        full(shared_address(full_barriers)),
        empty(shared_address(empty_barriers)) {}

  // By all threads of the block.
  __device__ void open() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < count; ++i) {
        barrier_init(full + 8 * i, 1);
        barrier_init(empty + 8 * i, kMmaWarps);
      }
      barrier_init_done();
    }
    __syncthreads();
  }
  __device__ void next() {
    if (++stage == count) {
      stage = 0;
      phase ^= 1;
    }
  }
  // By one warp: asks for the 16 rows of a tile; `row`: the lane's, lane % 16.
  __device__ void ask_for(const uint8_t* row, int groups) {
    const int lane = threadIdx.x % 32;
    const int steps = (groups + S::kGroups - 1) / S::kGroups;
    for (int step = 0; step < steps; ++step, next()) {
      const uint32_t bytes = min(groups - step * S::kGroups, S::kGroups) * group_bytes(kType);
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
  // By the others: multiplies a tile as it comes. Calls ahead(step) while a stage may still be
  // under way.
  template <class Ahead, class X>
  __device__ void multiply(int groups, const Ahead& ahead, const X& x_of, float (&sum)[4]) {
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int steps = (groups + S::kGroups - 1) / S::kGroups;
    for (int step = 0; step < steps; ++step, next()) {
      ahead(step);
      barrier_wait(full + 8 * stage, phase);
      const uint8_t* row0 = stages + (stage * 16 + lane / 4) * S::kRowBytes;
      RawGroup<kType, true> raw0[S::kGroupsPerWarp], raw1[S::kGroupsPerWarp];
#pragma unroll
      for (int u = 0; u < S::kGroupsPerWarp; ++u) {
        raw0[u].load(row0, warp + u * kMmaWarps, lane % 4);
        raw1[u].load(row0 + 8 * S::kRowBytes, warp + u * kMmaWarps, lane % 4);
      }
      __syncwarp();
      if (lane == 0) {
        barrier_arrive(empty + 8 * stage);
      }
#pragma unroll
      for (int u = 0; u < S::kGroupsPerWarp; ++u) {
        const int group = step * S::kGroups + warp + u * kMmaWarps;
        if (group < groups) {  // what is past the end is old
          uint32_t w0[4], w1[4];
          raw0[u].decode(w0);
          raw1[u].decode(w1);
          multiply_group(sum, w0, w1, x_of(u, group));
        }
      }
    }
  }
};

// A barrier of the threads that multiply.
__device__ inline void join_multipliers() {
  asm volatile("bar.sync 1, %0;" ::"n"(32 * kMmaWarps) : "memory");
}

// Rows this long make up for the start of the pipeline; shorter ones go straight to registers.
inline constexpr int64_t kShortestStreamBytes = 1024;

// Whether rows of a weight can come by bulk copies.
template <Dtype kType>
bool streams(const ExecutionContext& ctx, const uint8_t* weight, int64_t row_bytes, int groups) {
  return ctx.cuda->device.major >= 9 && row_bytes % 16 == 0 && row_bytes >= kShortestStreamBytes &&
         reinterpret_cast<uintptr_t>(weight) % 16 == 0 &&
         groups % Stage<kType>::kGroups * group_bytes(kType) % 16 == 0;
}

// Whether a weight can be read in whole aligned groups, to be multiplied in bf16.
inline bool fits_mma(const ExecutionContext& ctx, const Tensor& weight) {
  const bool words =
      weight.dtype() != Dtype::q4_1 || (reinterpret_cast<uintptr_t>(weight.raw()) |
                                        static_cast<uintptr_t>(weight.row_stride_bytes())) %
                                               4 ==
                                           0;
  return ctx.compute == Compute::bf16 && weight.dim(1) % kGroup == 0 && weight.dim(1) > 0 &&
         words && weight_rows(weight).aligned;
}

}  // namespace offbook::ops::cuda
