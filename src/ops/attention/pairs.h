// The two products of attention in bf16: both factors stand in pairs, of neighbouring dimensions
// for scores and of neighbouring keys for weighted sums, and vdpbf16ps multiplies and adds a pair a
// lane. Sums are f32 and, as in tiles.h, one chain an element in a fixed order. Include after
// isa_begin.h, and backend/cpu/features.h before it.
#pragma once
#include <cstring>

#include "src/ops/attention/tiles.h"

#if defined(OB_ISA_AVX512)

namespace offbook::ops::OB_ISA {

// Whether vdpbf16ps does two products where an fma does one, at the same rate; on Intel cores,
// which have AMX beside it, it has a quarter of the rate (measured: 1.7 against 6.7 G
// instructions/s).
inline bool has_quick_pairs() {
  static const bool is_quick = !backend::detect_cpu_features().amx_bf16;
  return is_quick;
}

inline __attribute__((always_inline)) __m512bh splat_pair(const Bf16* p) {
  int32_t pair;
  std::memcpy(&pair, p, 4);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

template <int R, int V>
inline __attribute__((always_inline)) void store_sums(const Vec (&sums)[R][V], float* out,
                                                      int64_t ldo) {
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      store(out + r * ldo + v * Vec::kLanes, sums[r][v]);
    }
  }
}

// out [R, V vectors] = Σ_i pair i of row r of a · pair i of the lanes of b, i < pairs. Vector v of
// row i of b stands at b + v · panel + i · ldb, in floats (a pair is as large as one).
template <int R, int V>
inline void multiply_pairs(const Bf16* a, int64_t lda, const float* b, int64_t panel, int64_t ldb,
                           int64_t pairs, float* out, int64_t ldo) {
  Vec sums[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sums[r][v] = zero();
    }
  }
  for (int64_t i = 0; i < pairs; ++i) {
    __m512bh lanes[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      lanes[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + v * panel + i * ldb));
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512bh one = splat_pair(a + r * lda + 2 * i);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        sums[r][v].v = _mm512_dpbf16_ps(sums[r][v].v, one, lanes[v]);
      }
    }
  }
  store_sums<R, V>(sums, out, ldo);
}

// The same for any number of vectors, `panel` floats apart.
template <int R>
inline void multiply_panels(const Bf16* a, int64_t lda, const float* b, int64_t panel, int64_t ldb,
                            int64_t pairs, int64_t vectors, float* out, int64_t ldo) {
  for (; vectors >= 4; vectors -= 4, b += 4 * panel, out += 4 * Vec::kLanes) {
    multiply_pairs<R, 4>(a, lda, b, panel, ldb, pairs, out, ldo);
  }
  if (vectors >= 2) {
    multiply_pairs<R, 2>(a, lda, b, panel, ldb, pairs, out, ldo);
    vectors -= 2;
    b += 2 * panel;
    out += 2 * Vec::kLanes;
  }
  if (vectors > 0) {
    multiply_pairs<R, 1>(a, lda, b, panel, ldb, pairs, out, ldo);
  }
}

// Scores of R rows of q against panels of 16 keys, [panels, pairs, 16]. A panel is written at once,
// and stays in L1: columns 256 keys apart would fall on four of its sets.
template <int R>
inline void score_panels(const Bf16* q, int64_t ldq, const float* keys, int64_t pairs,
                         int64_t panels, float* scores, int64_t lds) {
  multiply_panels<R>(q, ldq, keys, pairs * Vec::kLanes, Vec::kLanes, pairs, panels, scores, lds);
}

// Pairs (a, b), rounded.
inline __attribute__((always_inline)) __m512i pairs_of(Vec a, Vec b) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v)));
}

// 16 elements of two rows side by side: pairs (a, b).
inline __attribute__((always_inline)) __m512i interleave(const float* a, const float* b, int n) {
  return pairs_of(load_some(a, n), load_some(b, n));
}
inline __attribute__((always_inline)) __m512i interleave(const Bf16* a, const Bf16* b, int n) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), a));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), b));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
// 32 elements of two rows: 16 pairs each.
inline __attribute__((always_inline)) void interleave_32(const Bf16* a, const Bf16* b, __m512i& low,
                                                         __m512i& high) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i x = _mm512_loadu_si512(a);
  const __m512i y = _mm512_loadu_si512(b);
  low = _mm512_permutex2var_epi16(x, order, y);
  high = _mm512_permutex2var_epi16(x, _mm512_add_epi16(order, _mm512_set1_epi16(16)), y);
}

// V vectors of two rows as pairs; `last` elements in the last of them.
template <typename T, int V>
inline __attribute__((always_inline)) void pair_lanes(const T* a, const T* b, int last,
                                                      __m512bh (&lanes)[V]) {
  if constexpr (std::is_same_v<T, Bf16> && V % 2 == 0) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v += 2) {
      __m512i low;
      __m512i high;
      interleave_32(a + v * Vec::kLanes, b + v * Vec::kLanes, low, high);
      lanes[v] = reinterpret_cast<__m512bh>(low);
      lanes[v + 1] = reinterpret_cast<__m512bh>(high);
    }
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      lanes[v] = reinterpret_cast<__m512bh>(
          interleave(a + v * Vec::kLanes, b + v * Vec::kLanes, v + 1 < V ? Vec::kLanes : last));
    }
  }
}

// Stands in for a row outside: what lies in a cache beside a sequence is never read.
template <typename T>
const T* nothing() {
  alignas(64) static constexpr T kNothing[256] = {};
  return kNothing;
}

// Row j / 2 of out [·, wide] = rows j and j + 1 side by side, for even j around [begin, end).
template <typename T, typename RowOf>
void pack_row_pairs(const RowOf& row, int64_t begin, int64_t end, int64_t dim, float* out,
                    int64_t wide) {
  for (int64_t j = begin / 2 * 2; j < end; j += 2) {
    const T* a = j >= begin ? row(j) : nothing<T>();
    const T* b = j + 1 < end ? row(j + 1) : nothing<T>();
    float* to = out + j / 2 * wide;
    int64_t i = 0;
    for (; i + 2 * Vec::kLanes <= dim; i += 2 * Vec::kLanes) {
      __m512bh lanes[2];
      pair_lanes<T, 2>(a + i, b + i, Vec::kLanes, lanes);
      _mm512_storeu_si512(to + i, reinterpret_cast<__m512i>(lanes[0]));
      _mm512_storeu_si512(to + i + Vec::kLanes, reinterpret_cast<__m512i>(lanes[1]));
    }
    for (; i < dim; i += Vec::kLanes) {
      const int n = static_cast<int>(std::min<int64_t>(Vec::kLanes, dim - i));
      _mm512_storeu_si512(to + i, interleave(a + i, b + i, n));
    }
  }
}

}  // namespace offbook::ops::OB_ISA

#endif
