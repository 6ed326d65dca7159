// Products of bf16 through vdpbf16ps. Include after isa_begin.h, and backend/cpu/features.h before
// it.
//
// Columns of b are packed a few vectors at a time into pairs of their k, [k / 2, vectors, 16]; rows
// of a are read where they stand. One thread of a Zen 4, of its 236 GFLOP/s in registers, 504 × 576
// × 3072 and 504 × 1536 × 576: tiles of 6 rows × 4 vectors 219 and 229, 8 × 3 217 and 225, 12 × 2
// 200 and 216. oneDNN 2.6 gave 175 where training calls it.
#pragma once
#include "src/ops/attention/pairs.h"

#if defined(OB_ISA_AVX512)

namespace offbook::ops::OB_ISA {

constexpr int kMostVectors = 4;
constexpr int64_t kPairsDepth = 1536;  // of k packed at a time: 192 kB for four vectors, in L2
constexpr int64_t kPairsRows = 48;     // from which packing b pays: 1/48 of the products

// Whether multiply_by_pairs takes it.
inline bool goes_by_pairs(const backend::GemmArgs& g) {
  return has_quick_pairs() && g.in == Dtype::bf16 && !g.a_is_transposed && g.m >= kPairsRows &&
         g.k % 2 == 0 && (g.k <= kPairsDepth || g.out == Dtype::f32);
}

// A stretch of columns of the product, with the packed b that they multiply.
template <typename O>
struct PairsStrip {
  const Bf16* a;
  int64_t lda;
  const float* b;  // [pairs, vectors, 16], pairs as floats
  int64_t pairs;
  O* c;
  int64_t ldc;
  float alpha;
  bool is_added;
  int last;  // lanes of the last vector that count
};

template <int R, int V, typename O>
inline void pairs_tile(const PairsStrip<O>& s, int64_t row) {
  Vec sums[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sums[r][v] = zero();
    }
  }
  const Bf16* const a = s.a + row * s.lda;
  for (int64_t i = 0; i < s.pairs; ++i) {
    __m512bh lanes[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      lanes[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(s.b + (i * V + v) * Vec::kLanes));
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512bh one = splat_pair(a + r * s.lda + 2 * i);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        sums[r][v].v = _mm512_dpbf16_ps(sums[r][v].v, one, lanes[v]);
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      O* const to = s.c + (row + r) * s.ldc + v * Vec::kLanes;
      const int n = v + 1 < V ? Vec::kLanes : s.last;
      Vec sum = sums[r][v] * splat(s.alpha);
      if (s.is_added) {
        sum = sum + load_some(to, n);
      }
      store_some(to, sum, n);
    }
  }
}

// Rows that a tile of V vectors has: 24 sums in registers.
template <int V>
constexpr int kPairsTileRows = V == 1 ? 12 : 24 / V;

template <int V, typename O>
void pairs_rows(const PairsStrip<O>& s, int64_t rows) {
  int64_t row = 0;
  for (; row + kPairsTileRows<V> <= rows; row += kPairsTileRows<V>) {
    pairs_tile<kPairsTileRows<V>, V>(s, row);
  }
  for (; row + 2 <= rows; row += 2) {
    pairs_tile<2, V>(s, row);
  }
  if (row < rows) {
    pairs_tile<1, V>(s, row);
  }
}

// Columns [column, column + count) of b at k [depth, depth + pairs · 2) as a strip reads them.
inline void pack_strip(const backend::GemmArgs& g, int64_t column, int64_t count, int64_t depth,
                       int64_t pairs, float* to) {
  const auto* const b = static_cast<const Bf16*>(g.b);
  const int64_t wide = (count + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes;
  if (g.b_is_transposed) {
    pack_columns<Units::pairs>([&](int64_t j) { return b + (column + j) * g.ldb + depth; }, 0,
                               count, pairs, to, wide);
  } else {
    pack_row_pairs<Bf16>([&](int64_t i) { return b + (depth + i) * g.ldb + column; }, 0, 2 * pairs,
                         count, to, wide);
  }
}

template <typename O>
void multiply_by_pairs(const backend::GemmArgs& g) {
  alignas(64) float packed[kMostVectors * Vec::kLanes * kPairsDepth / 2];  // of the thread's stack
  for (int64_t column = 0; column < g.n;) {
    const int64_t vectors = (g.n - column + Vec::kLanes - 1) / Vec::kLanes;
    // Three at a time where four would leave too little: 96 columns are 2 × 3.
    const int64_t taken = vectors == 5 || vectors % 4 == 2 ? std::min<int64_t>(vectors, 3)
                                                           : std::min<int64_t>(vectors, 4);
    const int64_t count = std::min(g.n - column, taken * Vec::kLanes);
    for (int64_t depth = 0; depth < g.k; depth += kPairsDepth) {
      const int64_t pairs = std::min(kPairsDepth, g.k - depth) / 2;
      pack_strip(g, column, count, depth, pairs, packed);
      const PairsStrip<O> strip{.a = static_cast<const Bf16*>(g.a) + depth,
                                .lda = g.lda,
                                .b = packed,
                                .pairs = pairs,
                                .c = static_cast<O*>(g.c) + column,
                                .ldc = g.ldc,
                                .alpha = g.alpha,
                                .is_added = g.is_accumulated || depth > 0,
                                .last = static_cast<int>(count - (taken - 1) * Vec::kLanes)};
      switch (taken) {
        case 1:
          pairs_rows<1>(strip, g.m);
          break;
        case 2:
          pairs_rows<2>(strip, g.m);
          break;
        case 3:
          pairs_rows<3>(strip, g.m);
          break;
        default:
          pairs_rows<4>(strip, g.m);
      }
    }
    column += count;
  }
}

}  // namespace offbook::ops::OB_ISA

#endif
