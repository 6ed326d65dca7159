// A vector of floats as wide as the instruction set a kernel file is compiled for (8 lanes with AVX2,
// 16 with AVX-512), so that most kernels are written once. Include after isa_begin.h.
#pragma once
#include <immintrin.h>

#include "src/base/float16.h"

namespace offbook::ops::OB_ISA {

#if defined(OB_ISA_AVX512)

struct Vec {
  static constexpr int kLanes = 16;
  __m512 v;
};
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec zero() { return {_mm512_setzero_ps()}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
// The first n lanes; the others are 0.
inline Vec load(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first(n), a.v); }
inline Vec widen(__m256i h) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))}; }
inline Vec load(const Bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Vec load(const Bf16* p, int n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
inline __m256i narrow(Vec a) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)); }
inline void store(Bf16* p, Vec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
inline void store(Bf16* p, Vec a, int n) { _mm256_mask_storeu_epi16(p, first(n), narrow(a)); }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
// a · 2^n for integral n in [-126, 127].
inline Vec scale2(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float highest(Vec a) { return _mm512_reduce_max_ps(a.v); }

#else

struct Vec {
  static constexpr int kLanes = 8;
  __m256 v;
};
inline Vec splat(float x) { return {_mm256_set1_ps(x)}; }
inline Vec zero() { return {_mm256_setzero_ps()}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first n lanes; the others are 0.
inline Vec load(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
inline void store(float* p, Vec a, int n) { _mm256_maskstore_ps(p, first(n), a.v); }
inline Vec widen(__m128i h) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))}; }
inline Vec load(const Bf16* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec load(const Bf16* p, int n) {
  alignas(16) uint16_t some[8] = {};
  for (int i = 0; i < n; ++i) {
    some[i] = p[i].bits;
  }
  return widen(_mm_load_si128(reinterpret_cast<const __m128i*>(some)));
}
inline __m128i narrow(Vec a) {  // round to nearest even; NaN stays NaN
  const __m256i u = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
  return _mm256_castsi256_si128(
      _mm256_permute4x64_epi64(_mm256_packus_epi32(high, _mm256_setzero_si256()), 0b11011000));
}
inline void store(Bf16* p, Vec a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(a)); }
inline void store(Bf16* p, Vec a, int n) {
  alignas(16) uint16_t some[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(some), narrow(a));
  for (int i = 0; i < n; ++i) {
    p[i].bits = some[i];
  }
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// a · 2^n for integral n in [-126, 127].
inline Vec scale2(Vec a, Vec n) {
  const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
  return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(bits))};
}
inline float sum(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float highest(Vec a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

#endif

// e^x with relative error below 2e-7 on [-87, 88]; clamped outside (never inf, never a denormal).
inline Vec exp(Vec x) {
  x = min(max(x, splat(-87.0f)), splat(88.0f));
  const Vec n = round(x * splat(1.44269504f));
  Vec r = fma(n, splat(-0.693145752f), x);  // ln 2 in two parts
  r = fma(n, splat(-1.42860677e-6f), r);
  Vec p = splat(1.98756915e-4f);
  p = fma(p, r, splat(1.39819995e-3f));
  p = fma(p, r, splat(8.33345190e-3f));
  p = fma(p, r, splat(4.16657960e-2f));
  p = fma(p, r, splat(1.66666655e-1f));
  p = fma(p, r, splat(5.00000012e-1f));
  p = fma(p, r * r, r + splat(1.0f));
  return scale2(p, n);
}

// Calls body(i, lanes) over [0, n) in steps of a vector; the last step may have fewer lanes. The body
// is compiled twice: for full vectors (lanes is a constant) and for the rest.
template <typename Body>
inline __attribute__((always_inline)) void for_lanes(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
    body(i, Vec::kLanes);
  }
  if (i < n) {
    body(i, static_cast<int>(n - i));
  }
}

template <typename T>
inline __attribute__((always_inline)) Vec load_some(const T* p, int n) {
  return n == Vec::kLanes ? load(p) : load(p, n);
}
template <typename T>
inline __attribute__((always_inline)) void store_some(T* p, Vec a, int n) {
  n == Vec::kLanes ? store(p, a) : store(p, a, n);
}

}  // namespace offbook::ops::OB_ISA
