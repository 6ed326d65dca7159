// A token's attention over all blocks of one launch: each takes a stretch of the cache for one key
// head; after a barrier, each joins the stretches of its group of heads for its rows of o.
#pragma once
#include "src/ops/decode_layers/step_layout_cuda.cuh"

namespace offbook::ops::cuda::whole_step {

// The new token was not in the cache when its row was asked for.
__device__ inline void put_new_token(const Block& b, int layer, int first) {
  const int at = b.length - 1 - first;
  if (b.last != b.length || at < 0 || at >= kTile) {
    return;
  }
  if (threadIdx.x < 16) {
    const LayerPointers& w = b.p.layers[layer];
    const int piece = static_cast<int>(threadIdx.x) % 8;
    const bool is_key = threadIdx.x < 8;
    const bf16* from = (is_key ? w.k : w.v) + b.place(b.slot, b.key_head) + piece * 8;
    uint8_t* to = (is_key ? b.keys(layer) : b.values(layer)) + (at * 8 + piece) * 16;
    *reinterpret_cast<uint4*>(to) = __ldcg(reinterpret_cast<const uint4*>(from));
  }
  __syncthreads();
}

// Sums of one thread over its tokens: eight columns of each head of the group. Maxima are the same
// in a warp.
struct Attended {
  float most[kGroup];
  float total[kGroup];
  float sums[kGroup][8];
};

// Eight threads a token, one of kTokensAtOnce.
__device__ inline void attend_tile(const Block& b, int layer, int first,
                                   const float (&q)[kGroup][8], Attended& to) {
  constexpr int kTurns = kTile / kTokensAtOnce;
  const int lane = static_cast<int>(threadIdx.x) % 8;
  float scores[kTurns][kGroup];
  float peaks[kGroup];
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    peaks[h] = to.most[h];
  }
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int token = turn * kTokensAtOnce + static_cast<int>(threadIdx.x) / 8;
    float k[8];
    unpack8(reinterpret_cast<const uint4*>(b.keys(layer))[token * 8 + lane], k);
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      float dot = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        dot = fmaf(q[h][j], k[j], dot);
      }
#pragma unroll
      for (int step = 1; step < 8; step *= 2) {
        dot += __shfl_xor_sync(0xffffffffu, dot, step);
      }
      scores[turn][h] = first + token < b.last ? dot * b.p.scale2 : -INFINITY;
      peaks[h] = fmaxf(peaks[h], scores[turn][h]);
    }
  }
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    peaks[h] = fmaxf(peaks[h], __shfl_xor_sync(0xffffffffu, peaks[h], 8));
    peaks[h] = fmaxf(peaks[h], __shfl_xor_sync(0xffffffffu, peaks[h], 16));
    const float shrink = to.most[h] == -INFINITY ? 0.0f : power_of_two(to.most[h] - peaks[h]);
    to.most[h] = peaks[h];
    to.total[h] *= shrink;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      to.sums[h][j] *= shrink;
    }
  }
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int token = turn * kTokensAtOnce + static_cast<int>(threadIdx.x) / 8;
    const bool is_there = first + token < b.last;  // what lies behind is old, and may be no number
    float v[8];
    unpack8(is_there ? reinterpret_cast<const uint4*>(b.values(layer))[token * 8 + lane]
                     : make_uint4(0, 0, 0, 0),
            v);
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      const float weight = is_there ? power_of_two(scores[turn][h] - to.most[h]) : 0.0f;
      to.total[h] += weight;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        to.sums[h][j] = fmaf(weight, v[j], to.sums[h][j]);
      }
    }
  }
}

// Joins the warps of the block; their sums to p.partial and p.peaks.
__device__ inline void put_stretch(const Block& b, int layer, Attended& mine) {
  auto* const sums = reinterpret_cast<float*>(b.keys(layer));  // [warps, group, dim]
  auto* const peaks = reinterpret_cast<float2*>(sums + kWarps * kGroup * kDim);
  static_assert(kWarps * kGroup * (kDim * 4 + 8) <= kTileBytes);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int quarter = static_cast<int>(threadIdx.x) % 32 / 8;
  const int lane = static_cast<int>(threadIdx.x) % 8;
  __syncthreads();  // the tile was read
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    mine.total[h] += __shfl_xor_sync(0xffffffffu, mine.total[h], 8);
    mine.total[h] += __shfl_xor_sync(0xffffffffu, mine.total[h], 16);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      mine.sums[h][j] += __shfl_xor_sync(0xffffffffu, mine.sums[h][j], 8);
      mine.sums[h][j] += __shfl_xor_sync(0xffffffffu, mine.sums[h][j], 16);
    }
    if (quarter == h) {
      auto* const to = reinterpret_cast<float4*>(sums + (warp * kGroup + h) * kDim + lane * 8);
      to[0] = make_float4(mine.sums[h][0], mine.sums[h][1], mine.sums[h][2], mine.sums[h][3]);
      to[1] = make_float4(mine.sums[h][4], mine.sums[h][5], mine.sums[h][6], mine.sums[h][7]);
      if (lane == 0) {
        peaks[warp * kGroup + h] = make_float2(mine.most[h], mine.total[h]);
      }
    }
  }
  __syncthreads();
  if (threadIdx.x >= kGroup * kDim) {
    return;
  }
  const int h = static_cast<int>(threadIdx.x) / kDim;
  const int column = static_cast<int>(threadIdx.x) % kDim;
  float peak = -INFINITY;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    peak = fmaxf(peak, peaks[i * kGroup + h].x);
  }
  float sum = 0;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    const float2 other = peaks[i * kGroup + h];
    const float scale = other.x == -INFINITY ? 0.0f : power_of_two(other.x - peak);
    sum = fmaf(sums[(i * kGroup + h) * kDim + column], scale, sum);
    total = fmaf(other.y, scale, total);
  }
  const int64_t row = int64_t{blockIdx.x} * kGroup + h;
  __stcg(b.p.partial + row * kDim + column, sum);
  if (column == 0) {
    __stcg(b.p.peaks + row, make_float2(peak, total));
  }
}

__device__ inline void attend(const Block& b, int layer) {
  const int lane = static_cast<int>(threadIdx.x) % 8;
  float q[kGroup][8];
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    const float* from = b.p.q + (b.key_head * kGroup + h) * kDim + lane * 8;
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      const float4 v = __ldcg(reinterpret_cast<const float4*>(from + j));
      q[h][j] = v.x, q[h][j + 1] = v.y, q[h][j + 2] = v.z, q[h][j + 3] = v.w;
    }
  }
  Attended mine{};
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    mine.most[h] = -INFINITY;
  }
  put_new_token(b, layer, b.first);
  attend_tile(b, layer, b.first, q, mine);
  for (int first = b.first + kTile; first < b.last; first += kTile) {  // longer than was foreseen
    __syncthreads();
    ask_for_tile(b, layer, first);
    copies_asked_for();
    wait_for_copies<0>();
    __syncthreads();
    put_new_token(b, layer, first);
    attend_tile(b, layer, first, q, mine);
  }
  put_stretch(b, layer, mine);
}

// The group's heads of all stretches as one vector, through the group's columns of o.
__device__ inline void join_and_project(const Block& b, int layer) {
  constexpr int kColumns = kGroup * kDim;
  constexpr int kHalf = kStretches / 2;
  static_assert(kStretches % 2 == 0 && kStretches <= 64 && 2 * kColumns + kGroup * 32 <= kThreads);
  if (b.stretch * kRowsOfO >= kHidden) {
    return;
  }
  const int column = static_cast<int>(threadIdx.x) % kColumns;
  const int half = static_cast<int>(threadIdx.x) / kColumns;
  const auto row_of = [&](int stretch, int h) {
    return int64_t{stretch * kKeyHeads + b.key_head} * kGroup + h;
  };
  float ahead[kHalf];
  if (half < 2) {
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      ahead[i] =
          __ldcg(b.p.partial + row_of(half * kHalf + i, column / kDim) * kDim + column % kDim);
    }
  } else if (threadIdx.x < 2 * kColumns + kGroup * 32) {
    const int h = (static_cast<int>(threadIdx.x) - 2 * kColumns) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float2 nothing = make_float2(-INFINITY, 0);
    const float2 low = __ldcg(b.p.peaks + row_of(lane, h));
    const float2 high = lane + 32 < kStretches ? __ldcg(b.p.peaks + row_of(lane + 32, h)) : nothing;
    float peak = fmaxf(low.x, high.x);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
    }
    const float of_low = low.x == -INFINITY ? 0.0f : power_of_two(low.x - peak);
    const float of_high = high.x == -INFINITY ? 0.0f : power_of_two(high.x - peak);
    float total = low.y * of_low + high.y * of_high;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      total += __shfl_xor_sync(0xffffffffu, total, step);
    }
    b.scales[h * kStretches + lane] = of_low / total;
    if (lane + 32 < kStretches) {
      b.scales[h * kStretches + 32 + lane] = of_high / total;
    }
  }
  __syncthreads();
  if (half < 2) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      sum = fmaf(ahead[i], b.scales[column / kDim * kStretches + half * kHalf + i], sum);
    }
    b.parts[half * kColumns + column] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kColumns) {
    reinterpret_cast<bf16*>(b.vector)[threadIdx.x] =
        __float2bfloat16_rn(b.parts[threadIdx.x] + b.parts[kColumns + threadIdx.x]);
  }
  __syncthreads();
  constexpr int kParts = 4;
  multiply_rows<kRowsOfO, kParts, kHeadsBytes / 16>(b.weights(layer) + kQkvBytes, b.vector,
                                                    b.parts);
  const int row = b.stretch * kRowsOfO + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kRowsOfO && row < kHidden) {
    __stcg(b.p.o + b.key_head * kHidden + row, row_sum<kParts>(b.parts, threadIdx.x));
  }
}

}  // namespace offbook::ops::cuda::whole_step
