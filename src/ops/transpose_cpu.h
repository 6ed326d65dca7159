// Transposes through registers. Include after isa_begin.h and simd.h.
#pragma once
#include <immintrin.h>

namespace offbook::ops::OB_ISA {

inline __m256 eight_floats(const float* p) {
  return _mm256_loadu_ps(p);
}
inline __m256 eight_floats(const Bf16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// to[j · to_step + i] = from[i · from_step + j] for i, j < 8.
template <typename T>
inline void transpose_8x8(const T* from, int64_t from_step, float* to, int64_t to_step) {
  __m256 pairs[8];
  for (int i = 0; i < 8; i += 2) {
    const __m256 even = eight_floats(from + i * from_step);
    const __m256 odd = eight_floats(from + (i + 1) * from_step);
    pairs[i] = _mm256_unpacklo_ps(even, odd);
    pairs[i + 1] = _mm256_unpackhi_ps(even, odd);
  }
  __m256 fours[8];  // element 4 h + j of rows 4 g … 4 g + 3 in half h of fours[4 g + j]
  for (int g = 0; g < 2; ++g) {
    fours[4 * g] = _mm256_shuffle_ps(pairs[4 * g], pairs[4 * g + 2], 0x44);
    fours[4 * g + 1] = _mm256_shuffle_ps(pairs[4 * g], pairs[4 * g + 2], 0xee);
    fours[4 * g + 2] = _mm256_shuffle_ps(pairs[4 * g + 1], pairs[4 * g + 3], 0x44);
    fours[4 * g + 3] = _mm256_shuffle_ps(pairs[4 * g + 1], pairs[4 * g + 3], 0xee);
  }
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_ps(to + j * to_step, _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20));
    _mm256_storeu_ps(to + (4 + j) * to_step, _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31));
  }
}

inline float plain_float(float x) {
  return x;
}
inline float plain_float(Bf16 x) {
  return to_float(x);
}

// to[j · to_step + i] = from[i · from_step + j] for i < rows, j < cols.
template <typename T>
inline void transpose(const T* from, int64_t from_step, int64_t rows, int64_t cols, float* to,
                      int64_t to_step) {
  int64_t i = 0;
  for (; i + 8 <= rows; i += 8) {
    int64_t j = 0;
    for (; j + 8 <= cols; j += 8) {
      transpose_8x8(from + i * from_step + j, from_step, to + j * to_step + i, to_step);
    }
    for (; j < cols; ++j) {
      for (int64_t r = i; r < i + 8; ++r) {
        to[j * to_step + r] = plain_float(from[r * from_step + j]);
      }
    }
  }
  for (; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      to[j * to_step + i] = plain_float(from[i * from_step + j]);
    }
  }
}

}  // namespace offbook::ops::OB_ISA
