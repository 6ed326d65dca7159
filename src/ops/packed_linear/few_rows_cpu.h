// Panels times at most eight rows, of int8 activations where the weights are quantised: bound by
// reading the weights. Include after isa_begin.h.
#pragma once
#include "src/ops/packed_linear/panel_cpu.h"

namespace offbook::ops::OB_ISA {

// Activations of rows in groups of 32.
struct Int8Groups {
  Tensor values;  // i8 [n, in]
  Tensor sums;    // i32 [n, in / 16]: of 16 values
  Tensor scales;  // f32 [n, in / 32]
  int64_t groups;
};

// x as round(x / scale) with scale = largest / 127 in each group.
inline void quantise_groups(const float* x, int64_t groups, int8_t* values, int32_t* sums,
                            float* scales) {
  for (int64_t g = 0; g < groups; ++g, x += 32, values += 32, sums += 2) {
    Vec largest = zero();
    for (int i = 0; i < 32; i += Vec::kLanes) {
      largest = max(largest, abs(load(x + i)));
    }
    const float top = highest(largest);
    scales[g] = top / 127.0f;
    const Vec inverse = splat(top > 0 ? 127.0f / top : 0.0f);
    for (int half = 0; half < 2; ++half) {
      alignas(64) int32_t whole[16];
      for (int i = 0; i < 16; i += Vec::kLanes) {
        const Vec v = load(x + half * 16 + i) * inverse;
#if defined(OB_ISA_AVX512)
        _mm512_store_si512(whole + i, _mm512_cvtps_epi32(v.v));
#else
        _mm256_store_si256(reinterpret_cast<__m256i*>(whole + i), _mm256_cvtps_epi32(v.v));
#endif
      }
      int32_t sum = 0;
      for (int i = 0; i < 16; ++i) {
        values[half * 16 + i] = static_cast<int8_t>(whole[i]);
        sum += whole[i];
      }
      sums[half] = sum;
    }
  }
}

inline __attribute__((always_inline)) Ints splat_ints(int32_t x) {
#if defined(OB_ISA_AVX512)
  return _mm512_set1_epi32(x);
#else
  return _mm256_set1_epi32(x);
#endif
}

inline __attribute__((always_inline)) Vec as_floats(Ints x) {
#if defined(OB_ISA_AVX512)
  return {_mm512_cvtepi32_ps(x)};
#else
  return {_mm256_cvtepi32_ps(x)};
#endif
}

// sum += Σ of 4 products of each dword. With AVX-512 w is unsigned. On AVX2 pairs of products add
// up in 16 bits, so 8-bit weights come signed and are multiplied by magnitude (2 · 128 · 127 fits).
template <bool kIsSigned>
inline __attribute__((always_inline)) Ints add_four(Ints sum, Ints w, Ints a) {
#if defined(OB_ISA_AVX512)
  return _mm512_dpbusd_epi32(sum, w, a);
#else
  const Ints pairs = kIsSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w))
                               : _mm256_maddubs_epi16(w, a);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

#if defined(OB_ISA_AVX512)
constexpr bool kMultipliesUnsigned = true;
#else
constexpr bool kMultipliesUnsigned = false;
#endif

// out[r][16] = activation row r · the 16 rows of a panel. Each lane is one chain over the groups in
// order, whatever the number of rows.
template <typename F, int R>
inline void panel_times_rows(const std::byte* panel, int32_t offset, const Int8Groups& x,
                             float (*out)[kPanelRows]) {
  constexpr bool kIsSigned = !F::is_4bit && !kMultipliesUnsigned;
  const int64_t groups = x.groups;
  const auto* values = x.values.data<int8_t>();
  const auto* sums = x.sums.data<int32_t>();
  const auto* scales = x.scales.data<float>();
  for (int side = 0; side < kSides; ++side) {
    Vec acc[R];
#pragma GCC unroll 8
    for (Vec& v : acc) {
      v = zero();
    }
    const std::byte* group = panel;
    for (int64_t g = 0; g < groups; ++g, group += F::group_bytes) {
      // The panels of a task lie one behind the other: what is fetched is used.
      _mm_prefetch(reinterpret_cast<const char*>(group) + 2048, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(group) + 2048 + 64, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(group) + 2048 + 128, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(group) + 2048 + 192, _MM_HINT_T0);
      Ints w[8];
#pragma GCC unroll 8
      for (int step = 0; step < 8; ++step) {
        w[step] = step_of<F>(group, step, side);
#if !defined(OB_ISA_AVX512)
        if constexpr (kIsSigned) {
          w[step] = _mm256_sub_epi8(w[step], _mm256_set1_epi8(static_cast<char>(offset)));
        }
#endif
      }
      const Vec scale = scale_of<F>(group, 0, side);
      Vec second = scale;
      if constexpr (F::has_halves) {
        second = scale_of<F>(group, 1, side);
      }
      Vec minimum = zero();
      if constexpr (F::has_minimum) {
        minimum = minimum_of<F>(group, side);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const int8_t* a = values + (r * groups + g) * 32;
        const int32_t* s = sums + (r * groups + g) * 2;
        const float x_scale = scales[r * groups + g];
        Ints low = splat_ints(kIsSigned || F::has_minimum ? 0 : -offset * s[0]);
        Ints high = splat_ints(kIsSigned || F::has_minimum ? 0 : -offset * s[1]);
#pragma GCC unroll 4
        for (int step = 0; step < 4; ++step) {
          int32_t four;
          std::memcpy(&four, a + step * 4, 4);
          low = add_four<kIsSigned>(low, w[step], splat_ints(four));
          std::memcpy(&four, a + 16 + step * 4, 4);
          high = add_four<kIsSigned>(high, w[step + 4], splat_ints(four));
        }
        if constexpr (F::has_halves) {
          acc[r] = fma(as_floats(low), scale * splat(x_scale), acc[r]);
          acc[r] = fma(as_floats(high), second * splat(x_scale), acc[r]);
        } else {
#if defined(OB_ISA_AVX512)
          const Ints both = _mm512_add_epi32(low, high);
#else
          const Ints both = _mm256_add_epi32(low, high);
#endif
          acc[r] = fma(as_floats(both), scale * splat(x_scale), acc[r]);
        }
        if constexpr (F::has_minimum) {
          acc[r] = fma(minimum, splat(x_scale * static_cast<float>(s[0] + s[1])), acc[r]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      store(out[r] + side * Vec::kLanes, acc[r]);
    }
  }
}

// Activations as bf16 panels are multiplied with them: bf16 for vdpbf16ps, floats on AVX2.
#if defined(OB_ISA_AVX512)
using Factor = Bf16;
#else
using Factor = float;
#endif

// The same with a panel of bf16 and rows of x, cols elements apart. Pairs go to two sums in turn:
// one would wait for itself (5 cycles each).
template <int R>
inline void plain_panel_times_rows(const std::byte* panel, int64_t cols, const Factor* x,
                                   float (*out)[kPanelRows]) {
  for (int side = 0; side < kSides; ++side) {
    Vec acc[R][2];
#pragma GCC unroll 8
    for (auto& v : acc) {
      v[0] = zero();
      v[1] = zero();
    }
    for (int64_t i = 0; i < cols; i += 4) {
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const Ints w = load_ints(panel + (i / 2 + j) * 64 + side * static_cast<int>(sizeof(Ints)));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const Factor* a = x + r * cols + i + 2 * j;
#if defined(OB_ISA_AVX512)
          int32_t pair;
          std::memcpy(&pair, a, 4);
          acc[r][j].v =
              _mm512_dpbf16_ps(acc[r][j].v, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)),
                               reinterpret_cast<__m512bh>(w));
#else
          const Vec even{_mm256_castsi256_ps(_mm256_slli_epi32(w, 16))};
          const Vec odd{_mm256_castsi256_ps(
              _mm256_and_si256(w, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
          acc[r][j] = fma(odd, splat(a[1]), fma(even, splat(a[0]), acc[r][j]));
#endif
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      store(out[r] + side * Vec::kLanes, acc[r][0] + acc[r][1]);
    }
  }
}

}  // namespace offbook::ops::OB_ISA
