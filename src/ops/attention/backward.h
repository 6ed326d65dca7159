// Gradient of attention in floats. Include after isa_begin.h.
#pragma once
#include "src/ops/attention/gradient_walk.h"

namespace offbook::ops::OB_ISA {

struct GradientScratch {
  GradientScratch(const AttentionProblem& p, float* base)
      : wide((p.dim() + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes) {
    Carver carver(base);
    const int64_t dim = p.dim();
    for (float** rows : {&q, &d_out, &d_q}) {
      *rows = carver.take(kGradientRows * wide);
    }
    for (float** numbers : {&lse, &mean}) {
      *numbers = carver.take(kGradientRows);
    }
    for (float** scores : {&weights, &d_scores}) {
      *scores = carver.take(kGradientRows * kGradientChunk);
    }
    for (float** columns : {&key_columns, &value_columns}) {
      *columns = carver.take(dim * kGradientChunk);
    }
    for (float** rows : {&keys, &d_keys, &d_values}) {
      *rows = carver.take(kGradientChunk * wide);
    }
    floats = carver.used();
  }
  int64_t wide;
  int64_t floats;
  float *q, *d_out, *d_q;              // [kGradientRows, wide]
  float *lse, *mean;                   // [kGradientRows]: lse · log2 e, and Σ d_out · out
  float *weights, *d_scores;           // [kGradientRows, kGradientChunk]
  float *key_columns, *value_columns;  // [dim, kGradientChunk]
  float *keys, *d_keys, *d_values;     // [kGradientChunk, wide]
};

// T: of keys and values.
template <typename T>
class Backward : public GradientWalk<Backward<T>> {
  using Walk = GradientWalk<Backward<T>>;
  friend Walk;
  using Walk::a_;
  using Walk::head_;
  using Walk::key_row;
  using Walk::p_;
  using Walk::row_of;
  using Walk::rows;
  using Walk::seen;

 public:
  using Scratch = GradientScratch;
  Backward(const AttentionProblem& problem, const AttentionBackwardArgs& args, float* scratch)
      : Walk(problem, args), s_(problem, scratch) {}

 private:
  float* d_q() const { return s_.d_q; }

  void load_head(const Tensor& from, int64_t r, float* to) const {
    with_activation_type(from.dtype(), [&](auto* type) {
      const auto* x = head_of<std::remove_pointer_t<decltype(type)>>(from, row_of(r), head_);
      for_lanes(p_.dim(), [&](int64_t i, int n) { store(to + i, load_some(x + i, n)); });
    });
  }

  void load_rows() {
    for (int64_t r = 0; r < rows(); ++r) {
      load_head(p_.q, r, s_.q + r * s_.wide);
      load_head(a_.d_out, r, s_.d_out + r * s_.wide);
      s_.lse[r] = this->lse_of(r);
      s_.mean[r] = this->mean_of(r);
    }
    std::fill(s_.d_q, s_.d_q + rows() * s_.wide, 0.0f);
  }

  void chunk(int64_t c, Span keys, GradientSums sums) {
    load_keys(keys);
    for (int64_t r = 0; r < rows(); r += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, rows() - r));
      with_rows(count, [&](auto n) { row_tile<n>(c, r, keys); });
    }
    for (int64_t j = keys.begin; j < keys.end; j += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, keys.end - j));
      with_rows(count, [&](auto n) { key_tile<n>(j, this->seers(c, j, j + count - 1)); });
    }
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      this->add_row(sums.d_k + key_row(j) * s_.wide, s_.d_keys + j * s_.wide);
      this->add_row(sums.d_v + key_row(j) * s_.wide, s_.d_values + j * s_.wide);
    }
  }

  void load_keys(Span keys) {
    this->template with_keys_and_values<T>([&](const auto& key, const auto& value) {
      pack_columns<Units::floats>(key, keys.begin, keys.end, p_.dim(), s_.key_columns,
                                  kGradientChunk);
      pack_columns<Units::floats>(value, keys.begin, keys.end, p_.dim(), s_.value_columns,
                                  kGradientChunk);
      for (int64_t j = keys.begin; j < keys.end; ++j) {
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          store(s_.keys + j * s_.wide + i, load_some(key(j) + i, n));
        });
      }
    });
  }

  // Weights and their gradients of R rows, and what they add to d_q.
  template <int R>
  void row_tile(int64_t c, int64_t row, Span keys) {
    float* const weights = s_.weights + row * kGradientChunk;
    float* const d_scores = s_.d_scores + row * kGradientChunk;
    const Span tile = seen(c, row, row + R - 1);
    for (int64_t j = tile.begin / kTileColumns * kTileColumns; j < tile.end; j += kTileColumns) {
      const auto dot = [&](const float* rows, const float* columns, float* out) {
        dot_tile<Units::floats, R>({.a = rows + row * s_.wide,
                                    .lda = s_.wide,
                                    .b = columns + j,
                                    .ldb = kGradientChunk,
                                    .dim = p_.dim(),
                                    .out = out + j,
                                    .ldo = kGradientChunk});
      };
      dot(s_.q, s_.key_columns, weights);
      dot(s_.d_out, s_.value_columns, d_scores);
    }
    for (int r = 0; r < R; ++r) {
      differentiate_row(row + r, keys, seen(c, row + r, row + r));
    }
    weighted_sum<R>(
        {.w = d_scores,
         .row_step = kGradientChunk,
         .step = 1,
         .begin = tile.begin,
         .end = tile.end,
         .out = s_.d_q + row * s_.wide,
         .ldo = s_.wide},
        [&](int64_t j) -> const float* { return s_.keys + j * s_.wide; }, p_.dim());
  }

  // weights = softmax, d_scores = scale · weights · (d_scores - mean), both 0 at keys not seen.
  void differentiate_row(int64_t row, Span keys, Span seen) {
    float* const weights = s_.weights + row * kGradientChunk;
    float* const d_scores = s_.d_scores + row * kGradientChunk;
    for (float* x : {weights, d_scores}) {
      std::fill(x + keys.begin, x + std::min(std::max(seen.begin, keys.begin), keys.end), 0.0f);
      std::fill(x + std::max(std::min(seen.end, keys.end), keys.begin), x + keys.end, 0.0f);
    }
    const float scale = p_.scale * kLog2E;
    for_lanes(seen.end - seen.begin, [&](int64_t i, int n) {
      float* const w = weights + seen.begin + i;
      float* const d = d_scores + seen.begin + i;
      const Vec x = fma(load_some(w, n), splat(scale), splat(-s_.lse[row]));
      const Vec p = exp2_nonpositive(min(x, zero()));
      store_some(w, p, n);
      store_some(d, (load_some(d, n) - splat(s_.mean[row])) * (p * splat(p_.scale)), n);
    });
  }

  // Gradients of R keys and their values, summed over the rows that see them.
  template <int R>
  void key_tile(int64_t j, Span rows) {
    const auto add = [&](const float* w, const float* from, float* out) {
      std::fill(out + j * s_.wide, out + (j + R) * s_.wide, 0.0f);
      weighted_sum<R>(
          {.w = w + j,
           .row_step = 1,
           .step = kGradientChunk,
           .begin = rows.begin,
           .end = rows.end,
           .out = out + j * s_.wide,
           .ldo = s_.wide},
          [&](int64_t r) { return from + r * s_.wide; }, p_.dim());
    };
    add(s_.weights, s_.d_out, s_.d_values);
    add(s_.d_scores, s_.q, s_.d_keys);
  }

  GradientScratch s_;
};

}  // namespace offbook::ops::OB_ISA
