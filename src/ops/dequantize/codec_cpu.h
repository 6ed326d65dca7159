// Blocks of quantised weights, unpacked 32 values at a time in registers: for the kernels that turn
// them into floats and for those that multiply them as integers. Include after isa_begin.h.
// Bits of every block: docs/formats/quantised.md.
#pragma once
#include <cstring>

#include <immintrin.h>

#include "src/tensor/dtype.h"

namespace offbook::ops::OB_ISA {

// 32 neighbouring values: scale · (q − kOffset) + minimum; the scale may differ between the halves.
struct Group {
  __m256i q;  // u8
  float scale[2];
  float minimum;
};

inline float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return _cvtsh_ss(bits);
}

inline __m128i load16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m256i load32(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Low nibbles of 16 bytes, then their high nibbles.
inline __m256i nibbles(const uint8_t* p) {
  const __m128i raw = load16(p);
  const __m256i both =
      _mm256_inserti128_si256(_mm256_castsi128_si256(raw), _mm_srli_epi16(raw, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// Bit i of a 32-bit number as 16 in byte i.
inline __m256i fifth_bits(const uint8_t* p) {
  uint32_t bits;
  std::memcpy(&bits, p, 4);
  const __m256i spread = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                            0x0202020202020202, 0x0303030303030303);
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), spread);
  const __m256i one_of_eight = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, one_of_eight), one_of_eight);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

// kGroups: of a block; kBytes: of a block. Constants, so that kernels unroll over a super-block.
template <Dtype kType>
struct Codec;

template <>
struct Codec<Dtype::q8_0> {
  static constexpr int kGroups = 1;
  static constexpr int kBytes = 34;
  static constexpr int kOffset = 128;
  static constexpr bool kMinimum = false;
  static Group group(const uint8_t* b, int) {
    const float d = half_at(b);
    return {_mm256_xor_si256(load32(b + 2), _mm256_set1_epi8(static_cast<char>(0x80))), {d, d}, 0};
  }
};

template <>
struct Codec<Dtype::q4_0> {
  static constexpr int kGroups = 1;
  static constexpr int kBytes = 18;
  static constexpr int kOffset = 8;
  static constexpr bool kMinimum = false;
  static Group group(const uint8_t* b, int) {
    const float d = half_at(b);
    return {nibbles(b + 2), {d, d}, 0};
  }
};

template <>
struct Codec<Dtype::q4_1> {
  static constexpr int kGroups = 1;
  static constexpr int kBytes = 20;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static Group group(const uint8_t* b, int) {
    const float d = half_at(b);
    return {nibbles(b + 4), {d, d}, half_at(b + 2)};
  }
};

template <>
struct Codec<Dtype::q5_0> {
  static constexpr int kGroups = 1;
  static constexpr int kBytes = 22;
  static constexpr int kOffset = 16;
  static constexpr bool kMinimum = false;
  static Group group(const uint8_t* b, int) {
    const float d = half_at(b);
    return {_mm256_or_si256(nibbles(b + 6), fifth_bits(b + 2)), {d, d}, 0};
  }
};

template <>
struct Codec<Dtype::q5_1> {
  static constexpr int kGroups = 1;
  static constexpr int kBytes = 24;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static Group group(const uint8_t* b, int) {
    const float d = half_at(b);
    return {_mm256_or_si256(nibbles(b + 8), fifth_bits(b + 4)), {d, d}, half_at(b + 2)};
  }
};

// Scale and minimum of sub-block g of q4_k and q5_k.
inline Group k_group(const uint8_t* b, int g, __m256i q) {
  const uint8_t* s = b + 4;
  const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
  const int minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
  const float d = half_at(b) * static_cast<float>(scale);
  return {q, {d, d}, -(half_at(b + 2) * static_cast<float>(minimum))};
}

// 32 bytes hold the low nibbles of group g (even) and the high ones of g + 1.
inline __m256i k_nibbles(const uint8_t* quants, int g) {
  const __m256i raw = load32(quants + g / 2 * 32);
  return _mm256_and_si256(g % 2 == 0 ? raw : _mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
}

template <>
struct Codec<Dtype::q4_k> {
  static constexpr int kGroups = 8;
  static constexpr int kBytes = 144;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static Group group(const uint8_t* b, int g) { return k_group(b, g, k_nibbles(b + 16, g)); }
};

template <>
struct Codec<Dtype::q5_k> {
  static constexpr int kGroups = 8;
  static constexpr int kBytes = 176;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static Group group(const uint8_t* b, int g) {
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << g));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load32(b + 16), bit), bit);
    const __m256i fifth = _mm256_and_si256(set, _mm256_set1_epi8(16));
    return k_group(b, g, _mm256_or_si256(k_nibbles(b + 48, g), fifth));
  }
};

template <>
struct Codec<Dtype::q6_k> {
  static constexpr int kGroups = 8;
  static constexpr int kBytes = 210;
  static constexpr int kOffset = 32;
  static constexpr bool kMinimum = false;
  static Group group(const uint8_t* b, int g) {
    const int quarter = g % 4;
    const __m256i raw = load32(b + g / 4 * 64 + quarter % 2 * 32);
    const __m256i four =
        _mm256_and_si256(quarter < 2 ? raw : _mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
    const __m256i pairs = load32(b + 128 + g / 4 * 32);
    const __m256i shifted = _mm256_srl_epi16(pairs, _mm_cvtsi32_si128(2 * quarter));
    const __m256i two = _mm256_slli_epi16(_mm256_and_si256(shifted, _mm256_set1_epi8(3)), 4);
    const float d = half_at(b + 208);
    const auto* scales = reinterpret_cast<const int8_t*>(b + 192) + 2 * g;
    return {_mm256_or_si256(four, two),
            {d * static_cast<float>(scales[0]), d * static_cast<float>(scales[1])},
            0};
  }
};

// Calls fn with Codec<dtype>{} of a quantised type.
template <typename Fn>
inline void with_codec(Dtype dtype, const Fn& fn) {
  switch (dtype) {
    case Dtype::q8_0:
      return fn(Codec<Dtype::q8_0>{});
    case Dtype::q4_0:
      return fn(Codec<Dtype::q4_0>{});
    case Dtype::q4_1:
      return fn(Codec<Dtype::q4_1>{});
    case Dtype::q5_0:
      return fn(Codec<Dtype::q5_0>{});
    case Dtype::q5_1:
      return fn(Codec<Dtype::q5_1>{});
    case Dtype::q4_k:
      return fn(Codec<Dtype::q4_k>{});
    case Dtype::q5_k:
      return fn(Codec<Dtype::q5_k>{});
    case Dtype::q6_k:
      return fn(Codec<Dtype::q6_k>{});
    default:
      return;
  }
}

}  // namespace offbook::ops::OB_ISA
