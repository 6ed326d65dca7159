// Rows of keys turned into columns, so that the scores of one query against a vector's worth of
// keys take one multiply-add a dimension and no horizontal sum. Include after isa_begin.h.
#pragma once
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

// What is packed: floats, or pairs of bf16 side by side in 32 bits, which takes half the shuffles.
enum class Units { floats, pairs };

template <Units U>
int64_t units_of(int64_t dim) {
  return U == Units::pairs ? dim / 2 : dim;
}

template <Units U, typename T>
inline __attribute__((always_inline)) Vec load_units(const T* row, int64_t i, int n) {
  if constexpr (U == Units::pairs && std::is_same_v<T, Bf16>) {
    return load_some(reinterpret_cast<const float*>(row) + i, n);  // moved, never added
#if defined(OB_ISA_AVX512)
  } else if constexpr (U == Units::pairs) {
    const Vec low = load_some(row + 2 * i, std::min(2 * n, 16));
    const Vec high = n > 8 ? load_some(row + 2 * i + 16, 2 * n - 16) : zero();
    return {reinterpret_cast<__m512>(_mm512_cvtne2ps_pbh(high.v, low.v))};
#endif
  } else {
    return load_some(row + i, n);
  }
}

#if defined(OB_ISA_AVX512)
inline __attribute__((always_inline)) void transpose(Vec (&r)[16]) {
  __m512 t[16];
  const auto low_pair = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  const auto high_pair = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  // r[4 i + j], 128-bit lane k: element 4 k + j of rows 4 i … 4 i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i].v = low_pair(t[i], t[i + 2]);
    r[i + 1].v = high_pair(t[i], t[i + 2]);
    r[i + 2].v = low_pair(t[i + 1], t[i + 3]);
    r[i + 3].v = high_pair(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(r[j].v, r[4 + j].v, 0x88);
    const __m512 b = _mm512_shuffle_f32x4(r[8 + j].v, r[12 + j].v, 0x88);
    const __m512 c = _mm512_shuffle_f32x4(r[j].v, r[4 + j].v, 0xdd);
    const __m512 d = _mm512_shuffle_f32x4(r[8 + j].v, r[12 + j].v, 0xdd);
    r[j].v = _mm512_shuffle_f32x4(a, b, 0x88);
    r[8 + j].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[4 + j].v = _mm512_shuffle_f32x4(c, d, 0x88);
    r[12 + j].v = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}
#else
inline __attribute__((always_inline)) void transpose(Vec (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i].v = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1].v = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2].v = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3].v = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256 a = r[j].v;
    r[j].v = _mm256_permute2f128_ps(a, r[4 + j].v, 0x20);
    r[4 + j].v = _mm256_permute2f128_ps(a, r[4 + j].v, 0x31);
  }
}
#endif

// out [units, ld], column j = row begin + j of `row(j)` for j in [begin, end), zero up to the next
// multiple of a vector on both sides: what stands in a cache beside a sequence is never read.
template <Units U, typename RowOf>
void pack_columns(const RowOf& row, int64_t begin, int64_t end, int64_t units, float* out,
                  int64_t ld) {
  constexpr int kLanes = Vec::kLanes;
  for (int64_t j = begin / kLanes * kLanes; j < end; j += kLanes) {
    for_lanes(
        units, [&](int64_t i, int n) __attribute__((always_inline)) {
          Vec block[kLanes];
          const bool whole = j >= begin && j + kLanes <= end;
#pragma GCC unroll 16
          for (int k = 0; k < kLanes; ++k) {
            const bool there = whole || (j + k >= begin && j + k < end);
            block[k] = there ? load_units<U>(row(j + k), i, n) : zero();
          }
          transpose(block);
#pragma GCC unroll 16
          for (int k = 0; k < kLanes; ++k) {
            if (k < n) {
              store(out + (i + k) * ld + j, block[k]);
            }
          }
        });
  }
}

}  // namespace offbook::ops::OB_ISA
