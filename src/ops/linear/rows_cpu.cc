#include <cmath>

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/linear/rows.h"
#include "src/ops/tiles.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/dequantize/codec_cpu.h"
#include "src/ops/linear/convert_cpu.h"
#include "src/ops/simd.h"

// Compiled with -ffp-contract=off, so that every number of rows rounds alike.
namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kColumnsPerTask = 32;
constexpr int64_t kRowsPerTask = 64;

// alpha · sums + bias to columns [col, col + count) of a row of out.
template <typename O>
void write_row(const LinearArgs& a, const float* sums, int64_t row, int64_t col, int64_t count) {
  O* to = reinterpret_cast<O*>(a.out.row_raw(row)) + col;
  for_lanes(count, [&](int64_t i, int n) {
    Vec v = load_some(sums + i, n) * splat(a.alpha);
    if (a.bias.defined()) {
      v = v + load_some(a.bias.data<float>() + col + i, n);
    }
    if (a.write == Write::accumulate) {
      v = v + load_some(to + i, n);
    }
    store_some(to + i, v, n);
  });
}

void write_rows(const LinearArgs& a, const float (&sums)[kRowsAtOnce][kColumnsPerTask],
                const MatrixPart& part) {
  with_activation_type(a.out.dtype(), [&](auto* type) {
    for (int64_t r = 0; r < part.rows; ++r) {
      write_row<std::remove_pointer_t<decltype(type)>>(a, sums[r], part.row + r, part.col,
                                                       part.cols);
    }
  });
}

// Calls fn with the number of rows as a constant.
template <typename Fn>
inline void with_rows(int64_t rows, const Fn& fn) {
  switch (rows) {
    case 1:
      return fn(std::integral_constant<int, 1>{});
    case 2:
      return fn(std::integral_constant<int, 2>{});
    case 3:
      return fn(std::integral_constant<int, 3>{});
    case 4:
      return fn(std::integral_constant<int, 4>{});
    case 5:
      return fn(std::integral_constant<int, 5>{});
    case 6:
      return fn(std::integral_constant<int, 6>{});
    case 7:
      return fn(std::integral_constant<int, 7>{});
    default:
      return fn(std::integral_constant<int, 8>{});
  }
}

// Runs fn(part, scratch) for tiles of at most eight rows and kColumnsPerTask columns.
template <typename Fn>
void for_row_tiles(const ExecutionContext& ctx, const LinearArgs& a, int64_t scratch_bytes,
                   const Fn& fn) {
  const int64_t out = a.weight.dim(0);
  const int64_t across = (out + kColumnsPerTask - 1) / kColumnsPerTask;
  const int64_t down = (a.x.dim(0) + kRowsPerTask - 1) / kRowsPerTask;
  for_tiles(ctx, across * down, scratch_bytes, [&](int64_t tile, std::byte* scratch) {
    const int64_t col = tile % across * kColumnsPerTask;
    const int64_t cols = std::min(kColumnsPerTask, out - col);
    const int64_t first = tile / across * kRowsPerTask;
    const int64_t end = std::min(first + kRowsPerTask, a.x.dim(0));
    for (int64_t row = first; row < end; row += kRowsAtOnce) {
      fn(MatrixPart{.row = row,
                    .rows = std::min<int64_t>(kRowsAtOnce, end - row),
                    .col = col,
                    .cols = cols},
         scratch);
    }
  });
}

// sums[r][o] = x row r · weight row o for kRows rows and kColumns weight rows.
template <int kRows, int kColumns, typename W>
inline void dot(const float* const* x, const W* const* w, int64_t k,
                float (*sums)[kColumnsPerTask]) {
  Vec acc[kRows][kColumns];
  for (auto& row : acc) {
    for (Vec& v : row) {
      v = zero();
    }
  }
  for_lanes(
      k, [&](int64_t i, int n) __attribute__((always_inline)) {
        Vec weights[kColumns];
        for (int c = 0; c < kColumns; ++c) {
          weights[c] = load_some(w[c] + i, n);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const Vec v = load_some(x[r] + i, n);
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) {
            acc[r][c] = fma(v, weights[c], acc[r][c]);
          }
        }
      });
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      sums[r][c] = sum(acc[r][c]);
    }
  }
}

// Weight rows that share a pass over x: as many as there are registers for.
template <int kRows>
constexpr int columns_at_once() {
  return kRows <= 2 ? 4 : kRows <= 4 || Vec::kLanes == 16 ? 2 : 1;
}

template <int kRows, typename W>
void dot_tile(const float* const* x, const Tile& weight, int64_t cols, int64_t k,
              float (&sums)[kRowsAtOnce][kColumnsPerTask]) {
  constexpr int kColumns = columns_at_once<kRows>();
  const auto* base = reinterpret_cast<const W*>(weight.data);
  int64_t c = 0;
  for (; c + kColumns <= cols; c += kColumns) {
    const W* w[kColumns];
    for (int i = 0; i < kColumns; ++i) {
      w[i] = base + (c + i) * weight.ld;
    }
    dot<kRows, kColumns>(x, w, k, reinterpret_cast<float(*)[kColumnsPerTask]>(&sums[0][c]));
  }
  for (; c < cols; ++c) {
    const W* w = base + c * weight.ld;
    dot<kRows, 1>(x, &w, k, reinterpret_cast<float(*)[kColumnsPerTask]>(&sums[0][c]));
  }
}

// x as f32, with the roundings of the factor type.
Tensor float_rows(const ExecutionContext& ctx, const Tensor& x) {
  return in_type(ctx,
                 in_type(ctx, x, x.dtype() == Dtype::f32 ? factor_type(ctx.compute) : Dtype::bf16),
                 Dtype::f32);
}

// Activations of one row in groups of 32.
struct Int8Rows {
  Tensor values;   // i8 [n, in]
  Tensor offsets;  // i32 [n, in / 4]: −offset · sum of 4 values, where products begin
  Tensor scales;   // f32 [n, in / 32]
  Tensor sums;     // f32 [n, in / 32]: scale · sum of 32 values, times which the minimum counts
};

inline __m256i products_of(__m256i unsigned_bytes, __m256i signed_bytes, __m256i start) {
#if defined(OB_ISA_AVX512)
  return _mm256_dpbusd_epi32(start, unsigned_bytes, signed_bytes);
#else
  const __m256i pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
  return _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// Sums of 4 neighbouring products of a weight group with an activation group. On AVX2 pairs of
// products add up in 16 bits: 8-bit weights are multiplied by magnitude (2 · 128 · 127 fits),
// shorter ones as they are (2 · 63 · 127 fits).
template <typename C>
inline __m256i group_products(__m256i q, const int8_t* values, const int32_t* offsets) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
#if !defined(OB_ISA_AVX512)
  if constexpr (C::kOffset == 128) {
    const __m256i w = _mm256_xor_si256(q, _mm256_set1_epi8(static_cast<char>(0x80)));
    return products_of(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w), _mm256_setzero_si256());
  }
#endif
  const __m256i start = C::kOffset == 0
                            ? _mm256_setzero_si256()
                            : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(offsets));
  return products_of(q, a, start);
}

void quantise_group(const float* x, int offset, int8_t* values, int32_t* offsets, float* scale,
                    float* total) {
  Vec largest = zero();
  for (int i = 0; i < 32; i += Vec::kLanes) {
    largest = max(largest, abs(load(x + i)));
  }
  const float top = highest(largest);
  const float inverse = top > 0 ? 127.0f / top : 0.0f;
  int all = 0;
  for (int i = 0; i < 32; i += 4) {
    int four = 0;
    for (int j = i; j < i + 4; ++j) {
      const int q = static_cast<int>(std::lrintf(x[j] * inverse));
      values[j] = static_cast<int8_t>(q);
      four += q;
    }
    offsets[i / 4] = -offset * four;
    all += four;
  }
  *scale = top / 127.0f;
  *total = *scale * static_cast<float>(all);
}

Int8Rows quantise_rows(const ExecutionContext& ctx, const Tensor& activations, int offset) {
  const int64_t n = activations.dim(0);
  const int64_t in = activations.dim(1);
  Int8Rows rows{ctx.make(Dtype::i8, {n, in}), ctx.make(Dtype::i32, {n, in / 4}),
                ctx.make(Dtype::f32, {n, in / 32}), ctx.make(Dtype::f32, {n, in / 32})};
  const Tensor x = in_type(ctx, activations, Dtype::f32);
  ctx.pool->run(n, [&](int64_t r) {
    const auto* from = reinterpret_cast<const float*>(x.row_raw(r));
    for (int64_t g = 0; g < in / 32; ++g) {
      const int64_t at = r * (in / 32) + g;
      quantise_group(from + g * 32, offset, rows.values.data<int8_t>() + at * 32,
                     rows.offsets.data<int32_t>() + at * 8, rows.scales.data<float>() + at,
                     rows.sums.data<float>() + at);
    }
  });
  return rows;
}

inline float sum8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// sums[r][c] = activation row r · quantised weight row c for kRows rows and kColumns weight rows.
template <int kRows, int kColumns, typename C>
void dot_int8(const uint8_t* weight, int64_t row_bytes, const Int8Rows& x, int64_t first_row,
              float (*sums)[kColumnsPerTask]) {
  const int64_t groups = x.scales.dim(1);
  const auto* values = x.values.data<int8_t>() + first_row * groups * 32;
  const auto* offsets = x.offsets.data<int32_t>() + first_row * groups * 8;
  const auto* scales = x.scales.data<float>() + first_row * groups;
  const auto* totals = x.sums.data<float>() + first_row * groups;
  __m256 acc[kRows][kColumns];
  float minima[kRows][kColumns] = {};
  for (auto& row : acc) {
    for (__m256& v : row) {
      v = _mm256_setzero_ps();
    }
  }
  for (int64_t first = 0; first < groups; first += C::kGroups, weight += C::kBytes) {
#pragma GCC unroll 8
    for (int i = 0; i < C::kGroups; ++i) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        const Group w = C::group(weight + c * row_bytes, i);
        const __m256 scale = _mm256_set_m128(_mm_set1_ps(w.scale[1]), _mm_set1_ps(w.scale[0]));
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const int64_t at = r * groups + first + i;
          const __m256i products = group_products<C>(w.q, values + at * 32, offsets + at * 8);
          const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(scales[at]));
          acc[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), both, acc[r][c]);
          if constexpr (C::kMinimum) {
            minima[r][c] += w.minimum * totals[at];
          }
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      sums[r][c] = sum8(acc[r][c]) + minima[r][c];
    }
  }
}

// Several weight rows at a time hide the latency of one row's chain of additions.
template <int kRows, typename C>
void dot_int8_tile(const LinearArgs& a, const Int8Rows& x, const MatrixPart& part,
                   float (&sums)[kRowsAtOnce][kColumnsPerTask]) {
  constexpr int kColumns = kRows <= 2 ? 4 : kRows <= 4 ? 2 : 1;
  const int64_t row_bytes = a.weight.row_stride_bytes();
  const auto* weight = reinterpret_cast<const uint8_t*>(a.weight.row_raw(part.col));
  int64_t c = 0;
  for (; c + kColumns <= part.cols; c += kColumns) {
    dot_int8<kRows, kColumns, C>(weight + c * row_bytes, row_bytes, x, part.row,
                                 reinterpret_cast<float(*)[kColumnsPerTask]>(&sums[0][c]));
  }
  for (; c < part.cols; ++c) {
    dot_int8<kRows, 1, C>(weight + c * row_bytes, row_bytes, x, part.row,
                          reinterpret_cast<float(*)[kColumnsPerTask]>(&sums[0][c]));
  }
}

}  // namespace

void linear_rows(const ExecutionContext& ctx, const LinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const int64_t in = a.weight.dim(1);
  const Tensor x = float_rows(ctx, a.x);
  // bf16 weights are widened in registers, f32 ones used in place; others go through scratch.
  const Dtype type = a.weight.dtype() == Dtype::bf16 ? Dtype::bf16 : factor_type(ctx.compute);
  for_row_tiles(ctx, a, tile_bytes(a.weight, type, kColumnsPerTask, in),
                [&](const MatrixPart& part, std::byte* scratch) {
                  float sums[kRowsAtOnce][kColumnsPerTask];
                  const float* rows[kRowsAtOnce];
                  for (int64_t r = 0; r < part.rows; ++r) {
                    rows[r] = reinterpret_cast<const float*>(x.row_raw(part.row + r));
                  }
                  const Tile weight = weight_tile(
                      a.weight, type, {.row = part.col, .rows = part.cols, .col = 0, .cols = in},
                      scratch);
                  with_activation_type(type, [&](auto* w) {
                    with_rows(part.rows, [&](auto count) {
                      dot_tile<count.value, std::remove_pointer_t<decltype(w)>>(
                          rows, weight, part.cols, in, sums);
                    });
                  });
                  write_rows(a, sums, part);
                });
}

void linear_rows_int8(const ExecutionContext& ctx, const LinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  with_codec(a.weight.dtype(), [&](auto codec) {
    using C = decltype(codec);
    const Int8Rows x = quantise_rows(ctx, a.x, C::kOffset);
    for_row_tiles(ctx, a, 0, [&](const MatrixPart& part, std::byte*) {
      float sums[kRowsAtOnce][kColumnsPerTask];
      with_rows(part.rows, [&](auto count) { dot_int8_tile<count.value, C>(a, x, part, sums); });
      write_rows(a, sums, part);
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
