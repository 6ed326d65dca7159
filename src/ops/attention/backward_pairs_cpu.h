// Gradient of attention with bf16 factors in pairs: of neighbouring dimensions for scores, of
// neighbouring keys for d_q, of neighbouring queries for d_k and d_v. AVX-512 only. Include after
// isa_begin.h.
#pragma once
#include "src/ops/attention/gradient_walk.h"
#include "src/ops/attention/pairs.h"

#if defined(OB_ISA_AVX512)

namespace offbook::ops::OB_ISA {

struct PairedGradientScratch {
  PairedGradientScratch(const AttentionProblem& p, float* base)
      : wide((p.dim() + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes) {
    Carver carver(base);
    const int64_t dim = p.dim();
    for (Bf16** rows : {&q, &d_out}) {
      *rows = reinterpret_cast<Bf16*>(carver.take(kGradientRows * dim / 2));
    }
    for (float** pairs : {&q_pairs, &d_out_pairs}) {
      *pairs = carver.take(kGradientRows / 2 * wide);
    }
    d_q = carver.take(kGradientRows * wide);
    for (float** numbers : {&lse, &mean}) {
      *numbers = carver.take(kGradientRows);
    }
    for (float** of_tile : {&scores, &d_weights}) {
      *of_tile = carver.take(kTileRows * kGradientChunk);
    }
    d_scores = reinterpret_cast<Bf16*>(carver.take(kTileRows * kGradientChunk / 2));
    for (float** pairs : {&weight_pairs, &d_score_pairs}) {
      *pairs = carver.take(kGradientRows / 2 * kGradientChunk);
    }
    for (float** panels : {&keys, &values}) {
      *panels = carver.take(kGradientChunk * dim / 2);
    }
    key_pairs = carver.take(kGradientChunk / 2 * wide);
    part = carver.take(kTileRows * wide);
    floats = carver.used();
  }
  int64_t wide;
  int64_t floats;
  Bf16 *q, *d_out;                      // [kGradientRows, dim]
  float *q_pairs, *d_out_pairs;         // [kGradientRows / 2, wide]: of rows 2 i and 2 i + 1
  float* d_q;                           // [kGradientRows, wide]
  float *lse, *mean;                    // [kGradientRows]
  float *scores, *d_weights;            // [kTileRows, kGradientChunk]
  Bf16* d_scores;                       // [kTileRows, kGradientChunk]
  float *weight_pairs, *d_score_pairs;  // [kGradientRows / 2, kGradientChunk]
  float *keys, *values;                 // [kGradientChunk / 16, dim / 2, 16]
  float* key_pairs;                     // [kGradientChunk / 2, wide]
  float* part;                          // [kTileRows, wide]
};

// sums [R, V vectors] = Σ_i pairs a[i · step + r] · row i of b, i < count.
template <int R, int V>
inline void multiply_columns(const float* a, int64_t step, const float* b, int64_t ldb,
                             int64_t count, float* out, int64_t ldo) {
  Vec sums[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sums[r][v] = zero();
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    __m512bh lanes[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      lanes[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + i * ldb + v * Vec::kLanes));
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512bh one = splat_pair(reinterpret_cast<const Bf16*>(a + i * step + r));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        sums[r][v].v = _mm512_dpbf16_ps(sums[r][v].v, one, lanes[v]);
      }
    }
  }
  store_sums<R, V>(sums, out, ldo);
}

// T: of keys and values.
template <typename T>
class PairedBackward : public GradientWalk<PairedBackward<T>> {
  using Walk = GradientWalk<PairedBackward<T>>;
  friend Walk;
  using Walk::a_;
  using Walk::head_;
  using Walk::key_row;
  using Walk::p_;
  using Walk::row_of;
  using Walk::rows;
  using Walk::seen;

 public:
  using Scratch = PairedGradientScratch;
  PairedBackward(const AttentionProblem& problem, const AttentionBackwardArgs& args, float* scratch)
      : Walk(problem, args), s_(problem, scratch) {}

 private:
  float* d_q() const { return s_.d_q; }

  void load_head(const Tensor& from, Bf16* as_rows, float* as_pairs) const {
    with_activation_type(from.dtype(), [&](auto* type) {
      using X = std::remove_pointer_t<decltype(type)>;
      const auto row = [&](int64_t r) -> const X* { return head_of<X>(from, row_of(r), head_); };
      for (int64_t r = 0; r < rows(); ++r) {
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          store_some(as_rows + r * p_.dim() + i, load_some(row(r) + i, n), n);
        });
      }
      pack_row_pairs<X>(row, 0, rows(), p_.dim(), as_pairs, s_.wide);
    });
  }

  void load_rows() {
    load_head(p_.q, s_.q, s_.q_pairs);
    load_head(a_.d_out, s_.d_out, s_.d_out_pairs);
    for (int64_t r = 0; r < rows(); ++r) {
      s_.lse[r] = this->lse_of(r);
      s_.mean[r] = this->mean_of(r);
    }
    std::fill(s_.d_q, s_.d_q + rows() * s_.wide, 0.0f);
  }

  int64_t panel() const { return p_.dim() / 2 * Vec::kLanes; }

  template <typename RowOf>
  void pack_panels(const RowOf& row, Span keys, float* to) const {
    for (int64_t j = keys.begin / Vec::kLanes * Vec::kLanes; j < keys.end; j += Vec::kLanes) {
      pack_columns<Units::pairs>(row, std::max(j, keys.begin), std::min(j + Vec::kLanes, keys.end),
                                 p_.dim() / 2, to + j / Vec::kLanes * panel() - j, Vec::kLanes);
    }
  }

  void chunk(int64_t c, Span keys, GradientSums sums) {
    this->template with_keys_and_values<T>([&](const auto& key, const auto& value) {
      pack_panels(key, keys, s_.keys);
      pack_panels(value, keys, s_.values);
      pack_row_pairs<T>(key, keys.begin, keys.end, p_.dim(), s_.key_pairs, s_.wide);
    });
    for (int64_t r = 0; r < rows(); r += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, rows() - r));
      with_rows(count, [&](auto n) { row_tile<n>(c, r, keys); });
    }
    for (int64_t j = keys.begin; j < keys.end; j += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, keys.end - j));
      const Span seers = this->seers(c, j, j + count - 1);
      if (seers.begin < seers.end) {
        with_rows(count, [&](auto n) {
          key_tile<n>(j, seers, s_.d_score_pairs, s_.q_pairs, sums.d_k);
          key_tile<n>(j, seers, s_.weight_pairs, s_.d_out_pairs, sums.d_v);
        });
      }
    }
  }

  // Weights and their gradients of R rows, and what they add to d_q.
  template <int R>
  void row_tile(int64_t c, int64_t row, Span keys) {
    const Span tile = seen(c, row, row + R - 1);
    const int64_t first = tile.begin / Vec::kLanes;
    const int64_t panels = (tile.end + Vec::kLanes - 1) / Vec::kLanes - first;
    const auto score = [&](const Bf16* rows, const float* columns, float* out) {
      score_panels<R>(rows + row * p_.dim(), p_.dim(), columns + first * panel(), p_.dim() / 2,
                      panels, out + first * Vec::kLanes, kGradientChunk);
    };
    score(s_.q, s_.keys, s_.scores);
    score(s_.d_out, s_.values, s_.d_weights);
    for (int r = 0; r < R; r += 2) {
      differentiate(c, row, r, r + 1 < R, keys);
    }
    if (tile.begin >= tile.end) {
      return;
    }
    const int64_t begin = tile.begin / 2 * 2;
    multiply_panels<R>(s_.d_scores + begin, kGradientChunk, s_.key_pairs + begin / 2 * s_.wide,
                       Vec::kLanes, s_.wide, (tile.end + 1) / 2 - begin / 2, s_.wide / Vec::kLanes,
                       s_.part, s_.wide);
    for (int r = 0; r < R; ++r) {
      this->add_row(s_.d_q + (row + r) * s_.wide, s_.part + r * s_.wide);
    }
  }

  // weights = softmax and d_scores = scale · weights · (d_weights - mean) of rows r and r + 1 of
  // the tile at `row`, both 0 at keys not seen.
  void differentiate(int64_t c, int64_t row, int r, bool has_second, Span keys) {
    for (int64_t i = keys.begin / Vec::kLanes * Vec::kLanes; i < keys.end; i += Vec::kLanes) {
      Vec weights[2] = {zero(), zero()};
      Vec d_scores[2] = {zero(), zero()};
      for (int k = 0; k < (has_second ? 2 : 1); ++k) {
        const Span here = seen(c, row + r + k, row + r + k);
        const __mmask16 mask = lanes_of(here, i);
        const float* const scores = s_.scores + (r + k) * kGradientChunk + i;
        const float* const d_weights = s_.d_weights + (r + k) * kGradientChunk + i;
        const Vec x = fma(load(scores), splat(p_.scale * kLog2E), splat(-s_.lse[row + r + k]));
        weights[k].v = _mm512_maskz_mov_ps(mask, exp2_nonpositive(min(x, zero())).v);
        const Vec d =
            (load(d_weights) - splat(s_.mean[row + r + k])) * (weights[k] * splat(p_.scale));
        d_scores[k].v = _mm512_maskz_mov_ps(mask, d.v);
        store(s_.d_scores + (r + k) * kGradientChunk + i, d_scores[k]);
      }
      const int64_t at = (row + r) / 2 * kGradientChunk + i;
      _mm512_storeu_si512(s_.weight_pairs + at, pairs_of(weights[0], weights[1]));
      _mm512_storeu_si512(s_.d_score_pairs + at, pairs_of(d_scores[0], d_scores[1]));
    }
  }

  // The lanes of 16 keys from place i that are in a span.
  static __mmask16 lanes_of(Span keys, int64_t i) {
    const auto below = [&](int64_t end) {
      return first(static_cast<int>(std::clamp<int64_t>(end - i, 0, Vec::kLanes)));
    };
    return static_cast<__mmask16>(below(keys.end) & ~below(keys.begin));
  }

  // d [key rows] += Σ over the rows that see keys j … j + R - 1 of their weights · from.
  template <int R>
  void key_tile(int64_t j, Span seers, const float* weights, const float* from, float* d) {
    const int64_t begin = seers.begin / 2;
    const int64_t count = (seers.end + 1) / 2 - begin;
    weights += begin * kGradientChunk + j;
    from += begin * s_.wide;
    int64_t column = 0;
    for (; column + 4 * Vec::kLanes <= s_.wide; column += 4 * Vec::kLanes) {
      multiply_columns<R, 4>(weights, kGradientChunk, from + column, s_.wide, count,
                             s_.part + column, s_.wide);
    }
    for (; column < s_.wide; column += Vec::kLanes) {
      multiply_columns<R, 1>(weights, kGradientChunk, from + column, s_.wide, count,
                             s_.part + column, s_.wide);
    }
    for (int r = 0; r < R; ++r) {
      this->add_row(d + key_row(j + r) * s_.wide, s_.part + r * s_.wide);
    }
  }

  PairedGradientScratch s_;
};

}  // namespace offbook::ops::OB_ISA

#endif
