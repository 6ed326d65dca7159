// The two small matrix products of attention, held in registers. Each element of a result is one
// chain of multiply-adds in a fixed order, whatever the number of rows: a row's bits do not depend
// on the rows beside it. Include after isa_begin.h.
#pragma once
#include "src/ops/attention/transpose.h"

namespace offbook::ops::OB_ISA {

// 6 rows of 4 (AVX2: 2) vectors: 24 (12) sums, the rest of the registers for operands.
constexpr int kTileRows = 6;
constexpr int kTileVecs = Vec::kLanes == 16 ? 4 : 2;
constexpr int64_t kTileColumns = int64_t{kTileVecs} * Vec::kLanes;

// Calls fn(std::integral_constant<int, rows>) for rows in 1…kTileRows.
template <typename Fn>
inline void with_rows(int rows, const Fn& fn) {
  static_assert(kTileRows == 6);
  switch (rows) {
    case 1:
      return fn(std::integral_constant<int, 1>());
    case 2:
      return fn(std::integral_constant<int, 2>());
    case 3:
      return fn(std::integral_constant<int, 3>());
    case 4:
      return fn(std::integral_constant<int, 4>());
    case 5:
      return fn(std::integral_constant<int, 5>());
    default:
      return fn(std::integral_constant<int, 6>());
  }
}

// The elements of a pair as floats: a bf16 is the upper half of one.
inline __attribute__((always_inline)) Vec even_of(Vec pairs) {
#if defined(OB_ISA_AVX512)
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs.v), 16))};
#else
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs.v), 16))};
#endif
}
inline __attribute__((always_inline)) Vec odd_of(Vec pairs) {
#if defined(OB_ISA_AVX512)
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs.v), high))};
#else
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(pairs.v), high))};
#endif
}

// Matrices of a product: a [rows, dim] as rows, b [units, columns] as pack_columns left it.
struct DotTile {
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  int64_t dim;
  float* out;
  int64_t ldo;
};

// sums += column i of a times the vectors b
template <int R>
inline __attribute__((always_inline)) void add_products(const DotTile& t, int64_t i,
                                                        const Vec (&b)[kTileVecs],
                                                        Vec (&sums)[R][kTileVecs]) {
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    const Vec a = splat(t.a[r * t.lda + i]);
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) {
      sums[r][v] = fma(a, b[v], sums[r][v]);
    }
  }
}

// out [R, kTileColumns] = a b. The order of a sum, element after element, is the same for both
// units.
template <Units U, int R>
inline void dot_tile(const DotTile& t) {
  Vec sums[R][kTileVecs];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) {
      sums[r][v] = zero();
    }
  }
  constexpr int kElements = U == Units::pairs ? 2 : 1;
  for (int64_t i = 0; i < t.dim / kElements; ++i) {
    Vec b[kTileVecs];
    Vec odd[kTileVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) {
      b[v] = load(t.b + i * t.ldb + v * Vec::kLanes);
      if constexpr (U == Units::pairs) {
        odd[v] = odd_of(b[v]);
        b[v] = even_of(b[v]);
      }
    }
    add_products<R>(t, kElements * i, b, sums);
    if constexpr (U == Units::pairs) {
      add_products<R>(t, kElements * i + 1, odd, sums);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) {
      store(t.out + r * t.ldo + v * Vec::kLanes, sums[r][v]);
    }
  }
}

// out row r += Σ_{j in [begin, end)} w[r · row_step + j · step] · row(j), dim columns wide.
struct WeightedSum {
  const float* w;
  int64_t row_step;
  int64_t step;
  int64_t begin;
  int64_t end;
  float* out;
  int64_t ldo;
};

// Columns column … column + V vectors; `last` lanes in the last of them.
template <int R, int V, typename RowOf>
inline void sum_panel(const WeightedSum& t, const RowOf& row, int64_t column, int last) {
  Vec sums[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sums[r][v] = load(t.out + r * t.ldo + column + v * Vec::kLanes);
    }
  }
  for (int64_t j = t.begin; j < t.end; ++j) {
    const auto* from = row(j) + column;
    Vec b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      b[v] = v + 1 < V ? load(from + v * Vec::kLanes) : load_some(from + v * Vec::kLanes, last);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec w = splat(t.w[r * t.row_step + j * t.step]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        sums[r][v] = fma(w, b[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      store(t.out + r * t.ldo + column + v * Vec::kLanes, sums[r][v]);
    }
  }
}

// The rows of out are as wide as the next multiple of a vector.
template <int R, typename RowOf>
inline void weighted_sum(const WeightedSum& t, const RowOf& row, int64_t dim) {
  constexpr int kLanes = Vec::kLanes;
  int64_t column = 0;
  for (; column + kTileColumns <= dim; column += kTileColumns) {
    sum_panel<R, kTileVecs>(t, row, column, kLanes);
  }
  if constexpr (kTileVecs == 4) {
    if (column + 2 * kLanes <= dim) {
      sum_panel<R, 2>(t, row, column, kLanes);
      column += 2 * kLanes;
    }
  }
  for (; column < dim; column += kLanes) {
    sum_panel<R, 1>(t, row, column,
                    static_cast<int>(dim - column < kLanes ? dim - column : kLanes));
  }
}

}  // namespace offbook::ops::OB_ISA
