#include "src/ops/attention/tiles_cuda.cuh"
#include "src/ops/paged_attention/decode_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kChunk = 16;  // keys of a warp at a time; the four warps take one page
static_assert(kChunk * kWarps == kPageTokens);

// Blocks for one sequence over all key heads: two for each multiprocessor of an H200. A constant,
// not the device's: where the splits lie decides the bits.
constexpr int kBlocksPerSequence = 264;

// Pages of a split, at least: fewer cost more in starting and joining than they gain, unless there
// are so few in all that most multiprocessors would stand idle.
constexpr int kPagesPerSplit = 4;
constexpr int kPagesOfShortSplit = 2;

// More than these fill the multiprocessors anyway: 48 and 64 rows were 3% slower with early pages.
constexpr int kEarlySequences = 8;

struct Decode {
  const bf16 *q, *k, *v;
  bf16* out;
  PagedKeys keys;
  AttentionShape shape;
  int kv_heads;
  int splits;      // most of any sequence
  float* partial;  // [sequences, kv_heads, splits, kDecodeRows, dim]: not yet divided by their sums
  float2* peaks;   // [sequences, kv_heads, splits, kDecodeRows]: largest score (log2), sum
  // Pages of earlier tokens, the tables and the list may be read before the kernel in front is
  // done.
  bool settled;
  // Of [sequences, kv_heads], zeros before and after: the block that finds its splits complete
  // joins them. Null: decode_merge does.
  uint32_t* arrivals;
};

// Pages of one split; the last may be short or empty.
struct Split {
  int begin;
  int end;
  int count;  // splits of the sequence
};

__device__ Split split_of(const Decode& d, const SequenceView& view, int index) {
  const int first = d.keys.lo(view.first_position) / kPageTokens;
  const int pages = (view.count + kPageTokens - 1) / kPageTokens - first;
  const bool is_short = pages * d.kv_heads < kPagesOfShortSplit * kBlocksPerSequence;
  const int least = is_short ? kPagesOfShortSplit : kPagesPerSplit;
  const int each = max(least, (pages + d.splits - 1) / d.splits);
  return {first + index * each, min(first + (index + 1) * each, first + pages),
          (pages + each - 1) / each};
}

__device__ bool is_mine(const SequenceView& view, int group) {
  return view.length > 0 && view.length * group <= kDecodeRows;
}

// mma_bf16 whose rows 8…15 are zeros, and not kept.
__device__ void mma_top(float& c0, float& c1, uint32_t a0, uint32_t a2, uint32_t b0, uint32_t b1) {
  [[maybe_unused]] float unused0;
  [[maybe_unused]] float unused1;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, "
      "{%0,%1,%9,%9};\n"
      : "+f"(c0), "+f"(c1), "=f"(unused0), "=f"(unused1)
      : "r"(a0), "r"(0), "r"(a2), "r"(b0), "r"(b1), "f"(0.0f));
  static_cast<void>(unused0);
  static_cast<void>(unused1);
}

// A warp's share: sums over its keys for up to 16 query rows; kHalves is 1 for at most 8 rows.
template <int kDim, int kHalves>
struct WarpState {
  float most[kHalves];
  float total[kHalves];
  float sums[kDim / 8][2 * kHalves];
};

template <int kHalves>
__device__ void multiply(float (&c)[2 * kHalves], const uint32_t (&a)[2 * kHalves], uint32_t b0,
                         uint32_t b1) {
  if constexpr (kHalves == 1) {
    mma_top(c[0], c[1], a[0], a[1], b0, b1);
  } else {
    mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
  }
}

// Whether this block is the last of `count` to come here.
__device__ bool arrives_last(uint32_t* counter, int count) {
  __shared__ bool last;
  __threadfence();  // what this thread wrote is seen by who counts it
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicInc(counter, static_cast<unsigned>(count - 1)) == static_cast<unsigned>(count - 1);
  }
  __syncthreads();
  if (last) {
    __threadfence();
  }
  return last;
}

constexpr int kMergeGroups = 4;  // of splits, that are added apart

// Joining costs the last block a read of all splits: worth it for few of one row.
constexpr int kMostJoinedSplits = 16;

// The last block of a key head joins the splits of its one query row: the same additions in the
// same order as decode_merge, so that it does not matter who does it.
template <int kDim>
__device__ void join_splits(const Decode& d, const SequenceView& view, int64_t first, int count) {
  static_assert(kDim == kThreads);
  __shared__ float scales[kMostJoinedSplits];
  __shared__ float totals[kMostJoinedSplits];
  const float* from = d.partial + first * kDecodeRows * kDim + threadIdx.x;
  float parts[kMostJoinedSplits];
#pragma unroll
  for (int i = 0; i < kMostJoinedSplits; ++i) {
    parts[i] = i < count ? __ldcg(from + static_cast<int64_t>(i) * kDecodeRows * kDim) : 0.0f;
  }
  if (threadIdx.x < 32) {
    const bool mine = static_cast<int>(threadIdx.x) < count;
    const float2 own =
        mine ? __ldcg(&d.peaks[(first + threadIdx.x) * kDecodeRows]) : make_float2(-INFINITY, 0);
    float peak = own.x;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
    }
    const float scale = own.x == -INFINITY ? 0.0f : power_of_two(own.x - peak);
    if (mine) {
      scales[threadIdx.x] = scale;
      totals[threadIdx.x] = own.y * scale;
    }
  }
  __syncthreads();
  float groups[kMergeGroups] = {};
#pragma unroll
  for (int i = 0; i < kMostJoinedSplits; ++i) {
    float& sum = groups[i % kMergeGroups];
    sum = i < count ? fmaf(parts[i], scales[i], sum) : sum;
  }
  float total = 0;
  for (int i = 0; i < count; ++i) {
    total += totals[i];
  }
  float sum = groups[0];
#pragma unroll
  for (int i = 1; i < kMergeGroups; ++i) {
    sum += groups[i];
  }
  d.out[view.query_begin * d.shape.out.row + blockIdx.y * d.shape.out.head + threadIdx.x] =
      __float2bfloat16_rn(sum / total);
}

// Keys and values go from memory to registers, 16 bytes a thread, and meet the queries in the
// tensor cores without a shuffle: the columns of both factors are permuted alike. Keys of the next
// chunk are under way while values of this one are multiplied.
template <int kDim, int kHalves>
__global__ void __launch_bounds__(kThreads) decode_split(const __grid_constant__ Decode d) {
  constexpr int kParts = kDim / 32;  // of a key: 8 values of each of four threads
  constexpr int kSets = kDim / 64;   // of a value row: 8 values of each of eight threads
  constexpr int kRows = 8 * kHalves;
  extern __shared__ __align__(16) float warp_sums[];  // [kWarps][kRows][kDim]
  __shared__ float2 warp_peaks[kWarps][kRows];
  __shared__ float warp_scales[kWarps][kRows];
  __shared__ float row_totals[kRows];
  if (!d.settled) {
    wait_for_predecessor();
  }
  let_successor_start();
  const int s = blockIdx.z;
  const SequenceView view = d.keys.view(s);
  const int rows = view.length * d.shape.group;
  const Split split = split_of(d, view, blockIdx.x);
  if (!is_mine(view, d.shape.group) || (kHalves == 1) != (rows <= 8) || split.begin >= split.end) {
    if (d.settled) {
      wait_for_predecessor();  // a grid that waits for nothing would let its successor run ahead
    }
    return;
  }
  const int kv = blockIdx.y;
  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;

  const int32_t* pages = d.keys.page_list + d.keys.sequence(s).pages_begin;
  const bf16* k_base = d.k + kv * d.keys.k.head + 8 * t;
  const bf16* v_base = d.v + kv * d.keys.v.head + 8 * g;
  uint4 k_raw[2][kParts];
  uint4 v_raw[4][kSets];
  // Keys g and g + 8 of the warp's chunk of a page; zeros past the end.
  const auto fetch_k = [&](int page, int id) {
    const int64_t row = static_cast<int64_t>(id) * kPageTokens + warp * kChunk;
    const int left = view.count - page * kPageTokens - warp * kChunk;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const bf16* from = k_base + (row + n * 8 + g) * d.keys.k.row;
#pragma unroll
      for (int c = 0; c < kParts; ++c) {
        k_raw[n][c] = n * 8 + g < left ? __ldcs(reinterpret_cast<const uint4*>(from + c * 32))
                                       : make_uint4(0, 0, 0, 0);
      }
    }
  };
  // Values of keys 2t, 2t + 1, 2t + 8, 2t + 9.
  const auto fetch_v = [&](int page, int id) {
    const int64_t row = static_cast<int64_t>(id) * kPageTokens + warp * kChunk;
    const int left = view.count - page * kPageTokens - warp * kChunk;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int key = 2 * t + j % 2 + j / 2 * 8;
      const bf16* from = v_base + (row + key) * d.keys.v.row;
#pragma unroll
      for (int c = 0; c < kSets; ++c) {
        v_raw[j][c] = key < left ? __ldcs(reinterpret_cast<const uint4*>(from + c * 64))
                                 : make_uint4(0, 0, 0, 0);
      }
    }
  };

  int id = pages[split.begin];
  int next_id = split.begin + 1 < split.end ? pages[split.begin + 1] : 0;
  const bool is_old = d.settled && (split.begin + 1) * kPageTokens <= view.count - view.length;
  if (is_old) {
    fetch_k(split.begin, id);
    fetch_v(split.begin, id);
  }
  if (d.settled) {
    wait_for_predecessor();
  }
  // Row m of the product: query m / group, head m % group of the group.
  uint32_t q_part[2 * kParts][2 * kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int m = g + 8 * half;
    const bool inside = m < rows;
    const int64_t n = view.query_begin + (inside ? m / d.shape.group : 0);
    const int head = kv * d.shape.group + (inside ? m % d.shape.group : 0);
    const bf16* row = d.q + n * d.shape.q.row + head * d.shape.q.head + 8 * t;
#pragma unroll
    for (int c = 0; c < kParts; ++c) {
      const uint4 raw =
          inside ? *reinterpret_cast<const uint4*>(row + c * 32) : make_uint4(0, 0, 0, 0);
      q_part[2 * c][half] = raw.x;
      q_part[2 * c][kHalves + half] = raw.y;
      q_part[2 * c + 1][half] = raw.z;
      q_part[2 * c + 1][kHalves + half] = raw.w;
    }
  }

  if (!is_old) {
    fetch_k(split.begin, id);
    fetch_v(split.begin, id);
  }
  const float scale2 = d.shape.scale * kLog2e;
  WarpState<kDim, kHalves> state{};
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    state.most[half] = -INFINITY;
  }
  const int first_hi = view.first_position + 1;
  const int last_lo = d.keys.lo(view.count - 1);
  for (int page = split.begin; page < split.end; ++page) {
    const bool more = page + 1 < split.end;
    const int after = page + 2 < split.end ? pages[page + 2] : 0;
    float scores[2][2 * kHalves] = {};
#pragma unroll
    for (int c = 0; c < kParts; ++c) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        multiply<kHalves>(scores[n], q_part[2 * c], k_raw[n][c].x, k_raw[n][c].y);
        multiply<kHalves>(scores[n], q_part[2 * c + 1], k_raw[n][c].z, k_raw[n][c].w);
      }
    }
    if (more) {
      fetch_k(page + 1, next_id);
    }
    const int position = page * kPageTokens + warp * kChunk;
    const bool whole = position + kChunk <= first_hi && position >= last_lo;
    uint32_t p_part[2 * kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float peak = state.most[half];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[n][2 * half + e];
          score *= scale2;
          if (!whole) {
            const int at = view.first_position + (g + 8 * half) / d.shape.group;
            const int key = position + n * 8 + 2 * t + e;
            if (key > at || key < d.keys.lo(at)) {
              score = -INFINITY;
            }
          }
          peak = fmaxf(peak, score);
        }
      }
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
      const float base = peak == -INFINITY ? 0.0f : peak;
      const float shrink = power_of_two(state.most[half] - base);
      state.most[half] = peak;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float p0 = power_of_two(scores[n][2 * half] - base);
        const float p1 = power_of_two(scores[n][2 * half + 1] - base);
        sum += p0 + p1;
        p_part[n * kHalves + half] = pack(p0, p1);
      }
      state.total[half] = state.total[half] * shrink + sum;
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) {
        state.sums[i][2 * half] *= shrink;
        state.sums[i][2 * half + 1] *= shrink;
      }
    }
#pragma unroll
    for (int c = 0; c < kSets; ++c) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const auto word = [&](int key) {
          const uint4& raw = v_raw[key][c];
          return j / 2 == 0 ? raw.x : j / 2 == 1 ? raw.y : j / 2 == 2 ? raw.z : raw.w;
        };
        constexpr unsigned kLow = 0x5410, kHigh = 0x7632;
        const unsigned select = j % 2 == 0 ? kLow : kHigh;
        multiply<kHalves>(state.sums[c * 8 + j], p_part, __byte_perm(word(0), word(1), select),
                          __byte_perm(word(2), word(3), select));
      }
    }
    if (more) {
      fetch_v(page + 1, next_id);
    }
    next_id = after;
  }

  // Column 8 · (2t + e) + j of set c is sums[c · 8 + j][2 · half + e].
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    float total = state.total[half];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    if (t == 0) {
      warp_peaks[warp][g + 8 * half] = make_float2(state.most[half], total);
    }
    float* row = warp_sums + (warp * kRows + g + 8 * half) * kDim;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        row[i / 8 * 64 + 8 * (2 * t + e) + i % 8] = state.sums[i][2 * half + e];
      }
    }
  }
  __syncthreads();
  const int64_t block = (static_cast<int64_t>(s) * gridDim.y + kv) * d.splits + blockIdx.x;
  const bool last = split.count == 1;
  if (threadIdx.x < kRows) {
    const int m = threadIdx.x;
    float peak = -INFINITY;
    for (int w = 0; w < kWarps; ++w) {
      peak = fmaxf(peak, warp_peaks[w][m].x);
    }
    float total = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float2 other = warp_peaks[w][m];
      warp_scales[w][m] = other.x == -INFINITY ? 0.0f : power_of_two(other.x - peak);
      total += other.y * warp_scales[w][m];
    }
    row_totals[m] = total;
    if (!last && m < rows) {
      d.peaks[block * kDecodeRows + m] = make_float2(peak, total);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < rows * kDim; i += kThreads) {
    const int m = i / kDim;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      sum += warp_sums[w * kRows * kDim + i] * warp_scales[w][m];
    }
    if (last) {
      const int64_t n = view.query_begin + m / d.shape.group;
      const int head = kv * d.shape.group + m % d.shape.group;
      d.out[n * d.shape.out.row + head * d.shape.out.head + i % kDim] =
          __float2bfloat16_rn(sum / row_totals[m]);
    } else {
      d.partial[block * kDecodeRows * kDim + i] = sum;
    }
  }
  if (last || d.arrivals == nullptr) {
    return;
  }
  const int64_t all = static_cast<int64_t>(s) * gridDim.y + kv;
  if constexpr (kDim == kThreads && kHalves == 1) {
    if (arrives_last(d.arrivals + all, split.count)) {
      join_splits<kDim>(d, view, all * d.splits, split.count);
    }
  }
}

// Joins the splits of one query row: four groups of kDim threads take every fourth split, and read
// what they will add before they know the scales.
constexpr int kMergeAhead = 8;

// Over a block: the largest `peak` of its threads to all of them; `parts` is written.
template <int kWarpCount>
__device__ float block_peak(float peak, float (&parts)[kWarpCount]) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
  }
  parts[threadIdx.x / 32] = peak;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarpCount; ++w) {
    peak = fmaxf(peak, parts[w]);
  }
  return peak;
}

template <int kDim>
__global__ void __launch_bounds__(kMergeGroups* kDim)
    decode_merge(const __grid_constant__ Decode d) {
  constexpr int kMergeThreads = kMergeGroups * kDim;
  __shared__ float scales[kBlocksPerSequence];
  __shared__ float totals[kBlocksPerSequence];
  __shared__ float warp_peaks[kMergeThreads / 32];
  __shared__ float group_sums[kMergeGroups][kDim];
  wait_for_predecessor();
  let_successor_start();
  const int s = blockIdx.z;
  const SequenceView view = d.keys.view(s);
  const int m = blockIdx.x;
  if (!is_mine(view, d.shape.group) || m >= view.length * d.shape.group) {
    return;
  }
  const int count = split_of(d, view, 0).count;
  if (count <= 1) {
    return;
  }
  const int kv = blockIdx.y;
  const int group = threadIdx.x / kDim;
  const int column = threadIdx.x % kDim;
  const int64_t block = (static_cast<int64_t>(s) * gridDim.y + kv) * d.splits;
  const float* from = d.partial + (block * kDecodeRows + m) * kDim + column;
  const auto partial_of = [&](int i) { return from[static_cast<int64_t>(i) * kDecodeRows * kDim]; };
  float ahead[kMergeAhead];
#pragma unroll
  for (int j = 0; j < kMergeAhead; ++j) {
    const int i = group + j * kMergeGroups;
    ahead[j] = i < count ? partial_of(i) : 0.0f;
  }
  float peak = -INFINITY;
  for (int i = threadIdx.x; i < count; i += kMergeThreads) {
    const float2 other = d.peaks[(block + i) * kDecodeRows + m];
    scales[i] = other.x;
    totals[i] = other.y;
    peak = fmaxf(peak, other.x);
  }
  peak = block_peak(peak, warp_peaks);
  for (int i = threadIdx.x; i < count; i += kMergeThreads) {
    scales[i] = scales[i] == -INFINITY ? 0.0f : power_of_two(scales[i] - peak);
    totals[i] *= scales[i];
  }
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kMergeAhead; ++j) {
    const int i = group + j * kMergeGroups;
    sum = i < count ? fmaf(ahead[j], scales[i], sum) : sum;
  }
#pragma unroll 4
  for (int i = group + kMergeAhead * kMergeGroups; i < count; i += kMergeGroups) {
    sum = fmaf(partial_of(i), scales[i], sum);
  }
  group_sums[group][column] = sum;
  __syncthreads();
  if (group > 0) {
    return;
  }
  float total = 0;
  for (int i = 0; i < count; ++i) {
    total += totals[i];
  }
#pragma unroll
  for (int i = 1; i < kMergeGroups; ++i) {
    sum += group_sums[i][column];
  }
  const int64_t n = view.query_begin + m / d.shape.group;
  const int head = kv * d.shape.group + m % d.shape.group;
  d.out[n * d.shape.out.row + head * d.shape.out.head + column] = __float2bfloat16_rn(sum / total);
}

template <int kDim>
void run(const ExecutionContext& ctx, const Decode& d, const PagedAttentionArgs& a) {
  const auto kv_heads = static_cast<unsigned>(a.k_pages.dim(2));
  const auto sequences = static_cast<unsigned>(a.sequences.dim(0));
  const auto splits = static_cast<unsigned>(std::clamp<int64_t>(
      div_up(div_up(a.max_kv_length, kPageTokens), kPagesOfShortSplit), 1, d.splits));
  const auto shape = [&](int halves) {
    return Launch{
        dim3(splits, kv_heads, sequences), dim3(kThreads),
        static_cast<size_t>(kWarps) * 8 * static_cast<size_t>(halves) * kDim * sizeof(float), true};
  };
  launch(ctx, "decode_split", shape(1), decode_split<kDim, 1>, d);
  const int rows = a.max_length * d.shape.group;
  if (rows > 8) {
    launch(ctx, "decode_split", shape(2), decode_split<kDim, 2>, d);
  }
  if (splits > 1 && d.arrivals == nullptr) {
    launch(ctx, "decode_merge",
           {dim3(static_cast<unsigned>(std::min(rows, kDecodeRows)), kv_heads, sequences),
            dim3(kMergeGroups * kDim), 0, true},
           decode_merge<kDim>, d);
  }
}

}  // namespace

void attention_decode(const ExecutionContext& ctx, const PagedAttentionArgs& a) {
  const int64_t kv_heads = a.k_pages.dim(2);
  const int64_t dim = a.q.dim(2);
  backend::ArenaScope scope(*ctx.arena);
  const auto splits = static_cast<int>(std::max<int64_t>(1, kBlocksPerSequence / kv_heads));
  const int64_t blocks = a.sequences.dim(0) * kv_heads * splits;
  const Tensor partial = ctx.make(Dtype::f32, {blocks * kDecodeRows, dim});
  const Tensor peaks = ctx.make(Dtype::f32, {blocks * kDecodeRows, 2});
  // One sequence alone without groups, at heads of 128: else a kernel of its own is faster.
  const bool joins_inside = a.sequences.dim(0) == 1 && dim == kThreads &&
                            splits <= kMostJoinedSplits && a.max_length * a.q.dim(1) == kv_heads &&
                            kv_heads <= backend::CudaState::kCounters;
  const Decode d{.q = a.q.data<bf16>(),
                 .k = a.k_pages.data<bf16>(),
                 .v = a.v_pages.data<bf16>(),
                 .out = a.out.data<bf16>(),
                 .keys = paged_keys(a),
                 .shape = {.q = head_strides(a.q),
                           .out = head_strides(a.out),
                           .lse = nullptr,
                           .heads = static_cast<int>(a.q.dim(1)),
                           .group = static_cast<int>(a.q.dim(1) / kv_heads),
                           .dim = static_cast<int>(dim),
                           .scale = a.scale},
                 .kv_heads = static_cast<int>(kv_heads),
                 .splits = splits,
                 .partial = partial.data<float>(),
                 .peaks = reinterpret_cast<float2*>(peaks.raw()),
                 .settled = ctx.cuda->weights_are_settled && a.sequences.dim(0) <= kEarlySequences,
                 .arrivals = joins_inside ? ctx.cuda->counters : nullptr};
  if (dim == 128) {
    run<128>(ctx, d, a);
  } else {
    run<64>(ctx, d, a);
  }
}

}  // namespace offbook::ops::cuda
