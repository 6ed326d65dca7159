// Softmax of a row of scores, in parts that are merged. Include after isa_begin.h.
#pragma once
#include <cmath>

#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

constexpr float kLog2E = 1.44269504f;

// x where it is above the bound, else 0.
inline Vec keep_above(Vec x, float bound, Vec of) {
#if defined(OB_ISA_AVX512)
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(of.v, splat(bound).v, _CMP_NLT_UQ), x.v)};
#else
  return {_mm256_and_ps(x.v, _mm256_cmp_ps(of.v, splat(bound).v, _CMP_NLT_UQ))};
#endif
}

// 2^x for x ≤ 0, relative error below 3e-7; exactly 0 below 2^-100, far under half a unit in the
// last place of a sum that holds a 1, and far enough from denormals, which are slow to multiply.
inline Vec exp2_nonpositive(Vec x) {
  constexpr float kLowest = -100.0f;
  const Vec y = max(x, splat(kLowest));
  const Vec n = round(y);
  const Vec r = y - n;
  Vec p = splat(1.33908668e-3f);  // Chebyshev fit on [-1/2, 1/2]
  p = fma(p, r, splat(9.66637395e-3f));
  p = fma(p, r, splat(5.55035695e-2f));
  p = fma(p, r, splat(2.40223482e-1f));
  p = fma(p, r, splat(6.93147182e-1f));
  p = fma(p, r, splat(1.0f));
  return keep_above(scale2(p, n), kLowest, x);
}

inline float exp2_nonpositive(float x) {
  float lanes[Vec::kLanes];
  store(lanes, exp2_nonpositive(splat(x)));
  return lanes[0];
}

// Highest score of a part (times scale and log2 e) and the sum of 2^(score - highest); sum 0: the
// part holds no key the row sees.
struct Part {
  float highest = 0;
  float sum = 0;
};

// Keys [begin, end) of a chunk.
struct Span {
  int64_t begin;
  int64_t end;
};

// weights = 2^(scale · score - highest) inside `seen`, and 0 in the rest of `tile`; may be where
// the scores are. Scores and weights of whole vectors around `seen` are overwritten. The sum is of
// weights before they are rounded.
template <typename W>
inline Part softmax_part(float* scores, W* weights, Span tile, Span seen, float scale) {
  constexpr int64_t kLanes = Vec::kLanes;
  if (seen.begin >= seen.end) {
    std::fill(weights + tile.begin, weights + tile.end, W{});
    return {};
  }
  const int64_t first = seen.begin / kLanes * kLanes;
  const int64_t last = (seen.end + kLanes - 1) / kLanes * kLanes;
  std::fill(scores + first, scores + seen.begin, -INFINITY);
  std::fill(scores + seen.end, scores + last, -INFINITY);
  Vec top = load(scores + first);
  for (int64_t i = first + kLanes; i < last; i += kLanes) {
    top = max(top, load(scores + i));
  }
  Part part{.highest = highest(top) * scale};
  Vec sums = zero();
  for (int64_t i = first; i < last; i += kLanes) {
    const Vec p = exp2_nonpositive(fma(load(scores + i), splat(scale), splat(-part.highest)));
    sums = sums + p;
    store(weights + i, p);
  }
  part.sum = sum(sums);
  if (first > tile.begin) {
    std::fill(weights + tile.begin, weights + first, W{});
  }
  if (last < tile.end) {
    std::fill(weights + last, weights + tile.end, W{});
  }
  return part;
}

// Adds a part and its weighted values [dim] to what a row has so far. Parts come in order of keys.
inline void merge_part(const float* values, Part part, int64_t dim, float* so_far, Part* state) {
  if (part.sum == 0) {
    return;
  }
  if (state->sum == 0) {
    std::copy(values, values + dim, so_far);
    *state = part;
    return;
  }
  const float highest = std::max(state->highest, part.highest);
  const float keep = exp2_nonpositive(state->highest - highest);
  const float take = exp2_nonpositive(part.highest - highest);
  for (int64_t i = 0; i < dim; i += Vec::kLanes) {
    store(so_far + i, fma(load(so_far + i), splat(keep), load(values + i) * splat(take)));
  }
  state->highest = highest;
  state->sum = std::fma(state->sum, keep, part.sum * take);
}

}  // namespace offbook::ops::OB_ISA
