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
  if (threadIdx.x < 2 * kDim) {
    const int column = static_cast<int>(threadIdx.x) % kDim;
    const bool is_key = threadIdx.x < kDim;
    const Words& words = b.words(layer);
    float x[1];
    take_words((is_key ? words.k : words.v) + b.key_head * kDim + column, 0, b.turn + layer, x);
    uint8_t* const to = is_key ? b.keys(layer) : b.values(layer);
    reinterpret_cast<bf16*>(to)[at * kDim + column] = __float2bfloat16_rn(x[0]);
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

// Joins the warps of the block; their sums to the words of the layer.
__device__ inline void put_stretch(const Block& b, int layer, Attended& mine) {
  auto* const sums = reinterpret_cast<float*>(b.keys(layer));  // [warps, group, dim]
  auto* const peaks = reinterpret_cast<float2*>(sums + kWarps * kGroup * kDim);
  static_assert(kWarps * kGroup * (kDim * 4 + 8) <= kTileBytes);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int quarter = static_cast<int>(threadIdx.x) % 32 / 8;
  const int lane = static_cast<int>(threadIdx.x) % 8;
  __syncthreads();  // the tile was read
  // Of the four threads that have the same columns each keeps two: six shuffles a head, not
  // sixteen.
  const bool is_upper = quarter >= 2;
  const bool is_odd = quarter % 2 == 1;
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    mine.total[h] += __shfl_xor_sync(0xffffffffu, mine.total[h], 8);
    mine.total[h] += __shfl_xor_sync(0xffffffffu, mine.total[h], 16);
    float half[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float given = is_upper ? mine.sums[h][j] : mine.sums[h][4 + j];
      const float kept = is_upper ? mine.sums[h][4 + j] : mine.sums[h][j];
      half[j] = kept + __shfl_xor_sync(0xffffffffu, given, 16);
    }
    float pair[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float given = is_odd ? half[j] : half[2 + j];
      const float kept = is_odd ? half[2 + j] : half[j];
      pair[j] = kept + __shfl_xor_sync(0xffffffffu, given, 8);
    }
    const int column = lane * 8 + (is_upper ? 4 : 0) + (is_odd ? 2 : 0);
    *reinterpret_cast<float2*>(sums + (warp * kGroup + h) * kDim + column) =
        make_float2(pair[0], pair[1]);
    if (threadIdx.x % 32 == 0) {
      peaks[warp * kGroup + h] = make_float2(mine.most[h], mine.total[h]);
    }
  }
  __syncthreads();
  constexpr int kColumns = kGroup * kDim;
  if (threadIdx.x >= kColumns) {
    return;
  }
  Words& words = b.words(layer);
  const uint32_t turn = b.turn + layer;
  const int h = static_cast<int>(threadIdx.x) / kDim;
  const int column = static_cast<int>(threadIdx.x) % kDim;
  float peak = -INFINITY;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    peak = fmaxf(peak, peaks[w * kGroup + h].x);
  }
  float sum = 0;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float2 other = peaks[w * kGroup + h];
    const float scale = other.x == -INFINITY ? 0.0f : power_of_two(other.x - peak);
    sum = fmaf(sums[(w * kGroup + h) * kDim + column], scale, sum);
    total = fmaf(other.y, scale, total);
  }
  if (column == 0) {
    put_triple(words.peaks + blockIdx.x * kGroup + h, peak, total, 0, turn);
  }
  b.parts[threadIdx.x] = sum;
  asm volatile("bar.sync 1, %0;" ::"n"(kColumns) : "memory");
  if (threadIdx.x < kTriples) {
    const float* const joined = b.parts + threadIdx.x * 3;
    put_triple(words.partial + blockIdx.x * kTriples + threadIdx.x, joined[0], joined[1], joined[2],
               turn);
  }
}

__device__ inline void attend(const Block& b, int layer) {
  constexpr int kColumns = kGroup * kDim;
  if (threadIdx.x < kColumns) {
    float x[1];
    take_words(b.words(layer).q + b.key_head * kColumns + threadIdx.x, 0, b.turn + layer, x);
    b.parts[threadIdx.x] = x[0];
  }
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 8;
  float q[kGroup][8];
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      const float4 v = *reinterpret_cast<const float4*>(b.parts + h * kDim + lane * 8 + j);
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
  constexpr int kEach = (kStretches + kJoiners - 1) / kJoiners;
  static_assert(kStretches <= 64 && kGroup * 32 <= kThreads);
  if (b.stretch * kRowsOfO >= kHidden) {
    return;
  }
  const Words& words = b.words(layer);
  const uint32_t turn = b.turn + layer;
  const auto block_of = [&](int stretch) { return stretch * kKeyHeads + b.key_head; };
  const int triple = static_cast<int>(threadIdx.x) / kJoiners;
  const int joiner = static_cast<int>(threadIdx.x) % kJoiners;
  if (threadIdx.x < kGroup * 32) {
    const int h = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float own[2][3];
    take_triples(words.peaks + block_of(lane) * kGroup + h, 32 * kKeyHeads * kGroup,
                 lane + 32 < kStretches ? 2 : 1, turn, own);
    if (lane + 32 >= kStretches) {
      own[1][0] = -INFINITY;
    }
    float peak = fmaxf(own[0][0], own[1][0]);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
    }
    const float of_low = own[0][0] == -INFINITY ? 0.0f : power_of_two(own[0][0] - peak);
    const float of_high = own[1][0] == -INFINITY ? 0.0f : power_of_two(own[1][0] - peak);
    float total = own[0][1] * of_low + own[1][1] * of_high;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      total += __shfl_xor_sync(0xffffffffu, total, step);
    }
    b.scales[h * kStretches + lane] = of_low / total;
    if (lane + 32 < kStretches) {
      b.scales[h * kStretches + 32 + lane] = of_high / total;
    }
  }
  float parts[kEach][3];
  take_triples(words.partial + block_of(joiner) * kTriples + triple,
               kJoiners * kKeyHeads * kTriples, (kStretches - joiner + kJoiners - 1) / kJoiners,
               turn, parts);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    const int h = (triple * 3 + j) / kDim;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int stretch = joiner + i * kJoiners;
      if (stretch < kStretches) {
        sum = fmaf(parts[i][j], b.scales[h * kStretches + stretch], sum);
      }
    }
#pragma unroll
    for (int step = 1; step < kJoiners; step *= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (joiner == 0) {
      reinterpret_cast<bf16*>(b.vector)[triple * 3 + j] = __float2bfloat16_rn(sum);
    }
  }
  __syncthreads();
  constexpr int kParts = 4;
  multiply_rows<kRowsOfO, kParts, kHeadsBytes / 16>(b.weights(layer) + kQkvBytes, b.vector,
                                                    b.parts);
  const int row = b.stretch * kRowsOfO + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kRowsOfO && row < kHidden) {
    put_word(b.words(layer).o + b.key_head * kHidden + row, row_sum<kParts>(b.parts, threadIdx.x),
             turn);
  }
}

}  // namespace offbook::ops::cuda::whole_step
