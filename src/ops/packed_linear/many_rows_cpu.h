// Panels times many rows: bound by arithmetic. Panels are decoded once for all rows, to bf16 pairs
// on AVX-512 and to floats on AVX2; then tiles of the product stay in registers. Include after
// isa_begin.h.
#pragma once
#include "src/ops/gelu/gelu_of_cpu.h"
#include "src/ops/packed_linear/few_rows_cpu.h"

namespace offbook::ops::OB_ISA {

// A tile's sums fill the registers with its V vectors of panels and one value of x: 24 of 32, 12
// of 16. One thread of a Zen 4 gives 219 and 229 GFLOP/s for 576 and 1536 inputs with tiles of 6 ×
// 4, 200 and 216 with 12 × 2, of 236 without memory.
#if defined(OB_ISA_AVX512)
constexpr int kStepValues = 2;  // values of a row that one instruction multiplies
constexpr int kRowBlock = 12;
template <int V>
constexpr int kTileRows = V == 1 ? 12 : 24 / V;
#else
constexpr int kStepValues = 1;
constexpr int kRowBlock = 6;
template <int V>
constexpr int kTileRows = 6;
#endif
constexpr int kPanelVecs = kPanelRows / Vec::kLanes;

// Bytes of a decoded panel: [in / kStepValues, 16, kStepValues] factors.
inline int64_t decoded_bytes(int64_t cols) {
  return cols * kPanelRows * static_cast<int64_t>(sizeof(Factor));
}

// A panel of bf16 as factors.
inline void decode_plain_panel(const std::byte* panel, int64_t cols, Factor* to) {
#if defined(OB_ISA_AVX512)
  std::memcpy(to, panel, static_cast<size_t>(decoded_bytes(cols)));
#else
  for (int64_t i = 0; i < cols; i += 2) {
    for (int side = 0; side < kSides; ++side) {
      const Ints w = load_ints(panel + i / 2 * 64 + side * static_cast<int>(sizeof(Ints)));
      float* at = to + i * kPanelRows + side * Vec::kLanes;
      store(at, Vec{_mm256_castsi256_ps(_mm256_slli_epi32(w, 16))});
      store(at + kPanelRows, Vec{_mm256_castsi256_ps(_mm256_and_si256(
                                 w, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))});
    }
  }
#endif
}

// Decodes a panel of `cols` quantised values a row.
template <typename F>
inline void decode_panel(const std::byte* panel, int32_t offset, int64_t cols, Factor* to) {
#if defined(OB_ISA_AVX512)
  // Pairs (low, high) of 16 rows from 16 low and 16 high values.
  const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
#endif
  for (int64_t g = 0; g < cols / kPanelGroup; ++g, panel += F::group_bytes) {
    for (int side = 0; side < kSides; ++side) {
      for (int step = 0; step < 8; ++step) {
        const Ints w = step_of<F>(panel, step, side);
        const Vec scale = scale_of<F>(panel, F::has_halves ? step / 4 : 0, side);
        Vec minimum;
        if constexpr (F::has_minimum) {
          minimum = minimum_of<F>(panel, side);
        } else {
          minimum = scale * splat(static_cast<float>(-offset));
        }
        Vec v[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          v[i] = fma(low_byte_as_float(shifted(w, 8 * i)), scale, minimum);
        }
        Factor* at = to + (g * 32 + step * 4) * kPanelRows;
#if defined(OB_ISA_AVX512)
        for (int i = 0; i < 4; i += 2) {
          const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v[i + 1].v, v[i].v));
          _mm512_storeu_si512(at + i * kPanelRows, _mm512_permutexvar_epi16(pairs, both));
        }
#else
        for (int i = 0; i < 4; ++i) {
          store(at + i * kPanelRows + side * Vec::kLanes, v[i]);
        }
#endif
      }
    }
  }
}

// Where a tile's sums go, while they are in registers: to + r · step has the products of row r with
// the tile's first panel, those with the next follow 16 further on.
struct TileEnd {
  float* to;
  int64_t step;
  const float* bias;   // of the tile's columns, or null
  const float* gates;  // AVX2, with SwiGLU: products of a gate panel that was multiplied before
};

enum class Finish : uint8_t { overwrite, accumulate, swiglu, gelu };

inline Vec silu(Vec x) {
  return x / (splat(1.0f) + exp(zero() - x));
}

template <Finish kFinish, int R, int V>
inline __attribute__((always_inline)) void finish_tile(const Vec (&acc)[R][V], const TileEnd& end) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    float* to = end.to + r * end.step;
    if constexpr (kFinish == Finish::swiglu && V > kPanelVecs) {  // gates and ups in turn
#pragma GCC unroll 2
      for (int v = 0; v < V; v += 2) {
        store(to + v / 2 * kPanelRows, silu(acc[r][v]) * acc[r][v + 1]);
      }
      continue;
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const int at = v * Vec::kLanes;
      Vec sum = acc[r][v];
      if constexpr (kFinish == Finish::swiglu) {
        sum = silu(load(end.gates + r * kPanelRows + at)) * sum;
      }
      if (end.bias != nullptr) {
        sum = sum + load(end.bias + at);
      }
      if constexpr (kFinish == Finish::accumulate) {
        sum = sum + load(to + at);
      }
      if constexpr (kFinish == Finish::gelu) {
        sum = gelu_of(sum);
      }
      store(to + at, sum);
    }
  }
}

// end = rows of x · V / kPanelVecs decoded panels.
template <Finish kFinish, int R, int V>
inline void multiply_tile(const Factor* x, int64_t x_step, const Factor* panels, int64_t cols,
                          const TileEnd& end) {
  Vec acc[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      acc[r][v] = zero();
    }
  }
#if defined(OB_ISA_AVX512)
  for (int64_t i = 0; i < cols; i += kStepValues) {
    __m512bh b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      b[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panels + (v * cols + i) * kPanelRows));
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      std::memcpy(&pair, x + r * x_step + i, 4);
      const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        acc[r][v].v = _mm512_dpbf16_ps(acc[r][v].v, a, b[v]);
      }
    }
  }
#else
  static_assert(V == kPanelVecs);
  for (int64_t i = 0; i < cols; ++i) {
    const Vec b0 = load(panels + i * kPanelRows);
    const Vec b1 = load(panels + i * kPanelRows + Vec::kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec a = splat(x[r * x_step + i]);
      acc[r][0] = fma(a, b0, acc[r][0]);
      acc[r][1] = fma(a, b1, acc[r][1]);
    }
  }
#endif
  finish_tile<kFinish, R, V>(acc, end);
}

// multiply_tile for any rows: whole tiles, then thirds, then single rows.
template <Finish kFinish, int V>
inline void multiply_rows(int64_t rows, const Factor* x, int64_t x_step, const Factor* panels,
                          int64_t cols, TileEnd end) {
  constexpr int kWhole = kTileRows<V>;
  constexpr int kSome = kWhole / 3;
  const auto go = [&](int done) {
    rows -= done;
    x += done * x_step;
    end.to += done * end.step;
    end.gates = end.gates == nullptr ? nullptr : end.gates + done * kPanelRows;
  };
  for (; rows >= kWhole; go(kWhole)) {
    multiply_tile<kFinish, kWhole, V>(x, x_step, panels, cols, end);
  }
  for (; rows >= kSome; go(kSome)) {
    multiply_tile<kFinish, kSome, V>(x, x_step, panels, cols, end);
  }
  for (; rows > 0; go(1)) {
    multiply_tile<kFinish, 1, V>(x, x_step, panels, cols, end);
  }
}

}  // namespace offbook::ops::OB_ISA
