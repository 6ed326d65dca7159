// Reading panels of packed weights. Include after isa_begin.h.
#pragma once
#include <cstring>

#include <immintrin.h>

#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

// PanelForm as constants; the offset stays a number.
template <bool kIs4Bit, bool kHasMinimum, bool kHasHalves>
struct Form {
  static constexpr bool is_plain = false;
  static constexpr bool is_4bit = kIs4Bit;
  static constexpr bool has_minimum = kHasMinimum;
  static constexpr bool has_halves = kHasHalves;
  static constexpr int64_t quant_bytes = kIs4Bit ? 256 : 512;
  static constexpr int64_t scale_bytes = kHasHalves ? 64 : 32;
  static constexpr int64_t group_bytes = quant_bytes + scale_bytes + (kHasMinimum ? 32 : 0);
};

struct PlainForm {
  static constexpr bool is_plain = true;
};

// Calls fn(Form<…>{}) or fn(PlainForm{}).
template <typename Fn>
inline void with_form(const PanelForm& form, const Fn& fn) {
  if (form.is_plain) {
    fn(PlainForm{});
  } else if (form.is_4bit) {
    form.has_minimum ? fn(Form<true, true, false>{}) : fn(Form<true, false, false>{});
  } else if (form.has_halves) {
    fn(Form<false, false, true>{});
  } else {
    form.has_minimum ? fn(Form<false, true, false>{}) : fn(Form<false, false, false>{});
  }
}

#if defined(OB_ISA_AVX512)
using Ints = __m512i;
inline __attribute__((always_inline)) Ints load_ints(const std::byte* p) {
  return _mm512_loadu_si512(p);
}
inline __attribute__((always_inline)) Vec load_halves(const std::byte* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline __attribute__((always_inline)) Ints low_nibbles(Ints x) {
  return _mm512_and_si512(x, _mm512_set1_epi8(15));
}
inline __attribute__((always_inline)) Ints shifted(Ints x, int bits) {
  return _mm512_srli_epi32(x, static_cast<unsigned>(bits));
}
inline __attribute__((always_inline)) Vec low_byte_as_float(Ints x) {
  return {_mm512_cvtepi32_ps(_mm512_and_si512(x, _mm512_set1_epi32(255)))};
}
#else
using Ints = __m256i;
inline __attribute__((always_inline)) Ints load_ints(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline __attribute__((always_inline)) Vec load_halves(const std::byte* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline __attribute__((always_inline)) Ints low_nibbles(Ints x) {
  return _mm256_and_si256(x, _mm256_set1_epi8(15));
}
inline __attribute__((always_inline)) Ints shifted(Ints x, int bits) {
  return _mm256_srli_epi32(x, bits);
}
inline __attribute__((always_inline)) Vec low_byte_as_float(Ints x) {
  return {_mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(255)))};
}
#endif

// Vectors that the 16 rows of a panel take; lane i of vector `side` is row side · kLanes + i.
constexpr int kSides = static_cast<int>(kPanelRows) / Vec::kLanes;

// Four values of each row on one side of a group: byte j of dword i is value 4 · step + j of row i.
template <typename F>
inline __attribute__((always_inline)) Ints step_of(const std::byte* group, int step, int side) {
  const std::byte* p =
      group + (F::is_4bit ? step % 4 : step) * 64 + side * static_cast<int>(sizeof(Ints));
  const Ints raw = load_ints(p);
  if constexpr (F::is_4bit) {
    return low_nibbles(step < 4 ? raw : shifted(raw, 4));
  } else {
    return raw;
  }
}

template <typename F>
inline __attribute__((always_inline)) Vec scale_of(const std::byte* group, int half, int side) {
  return load_halves(group + F::quant_bytes + half * 32 + side * Vec::kLanes * 2);
}
template <typename F>
inline __attribute__((always_inline)) Vec minimum_of(const std::byte* group, int side) {
  return load_halves(group + F::quant_bytes + F::scale_bytes + side * Vec::kLanes * 2);
}

}  // namespace offbook::ops::OB_ISA
