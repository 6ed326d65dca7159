// Gradient of attention (docs/derivations/attention.md). Include after isa_begin.h.
//
// Probabilities are computed again from lse. An item is one head (or one key head with its group)
// of the sequences that share keys, walked in order into sums of its own, which are added up in
// order of heads at the end: no result depends on the number of threads.
#pragma once
#include "src/ops/attention/problem.h"
#include "src/ops/attention/softmax.h"
#include "src/ops/attention/tiles.h"

namespace offbook::ops::OB_ISA {

constexpr int64_t kGradientChunk = 128;  // keys
constexpr int64_t kGradientRows = 96;    // queries

// Parts of one float buffer; with a null base it only counts.
class Carver {
 public:
  explicit Carver(float* base) : base_(base) {}
  float* take(int64_t floats) {
    const int64_t at = used_;
    used_ += (floats + 15) / 16 * 16;
    return base_ == nullptr ? nullptr : base_ + at;
  }
  int64_t used() const { return used_; }

 private:
  float* base_;
  int64_t used_ = 0;
};

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

// Where an item sums gradients of keys and values: [rows of k, wide] each.
struct GradientSums {
  float* d_k;
  float* d_v;
};

template <typename T>
class Backward {
 public:
  Backward(const AttentionProblem& problem, const AttentionBackwardArgs& args, float* scratch)
      : p_(problem), a_(args), s_(problem, scratch) {}

  // Adds the gradients of one head of one sequence: to d_q, and to sums.
  void run(const KeySequence& sequence, int64_t head, GradientSums sums) {
    sequence_ = sequence;
    head_ = head;
    for (first_ = 0; first_ < sequence.length; first_ += kGradientRows) {
      end_ = std::min(first_ + kGradientRows, sequence.length);
      load_rows();
      const int64_t last_key = p_.end_key(sequence, end_ - 1);
      for (int64_t c = p_.first_key(sequence, first_) / kGradientChunk * kGradientChunk;
           c < last_key; c += kGradientChunk) {
        chunk(c, sums);
      }
      store_d_q();
    }
  }

 private:
  int64_t rows() const { return end_ - first_; }
  int64_t row_of(int64_t r) const { return sequence_.query_begin + first_ + r; }

  void load_head(const Tensor& from, int64_t r, float* to) const {
    with_activation_type(from.dtype(), [&](auto* type) {
      const auto* x = head_of<std::remove_pointer_t<decltype(type)>>(from, row_of(r), head_);
      for_lanes(p_.dim(), [&](int64_t i, int n) { store(to + i, load_some(x + i, n)); });
    });
  }

  void load_rows() {
    const auto* lse = p_.lse.template data<float>();
    for (int64_t r = 0; r < rows(); ++r) {
      load_head(p_.q, r, s_.q + r * s_.wide);
      load_head(a_.d_out, r, s_.d_out + r * s_.wide);
      s_.lse[r] = lse[row_of(r) * p_.heads() + head_] * kLog2E;
      with_activation_type(p_.out.dtype(), [&](auto* type) {
        const auto* out = head_of<std::remove_pointer_t<decltype(type)>>(p_.out, row_of(r), head_);
        Vec sums = zero();
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          sums = fma(load_some(out + i, n), load(s_.d_out + r * s_.wide + i), sums);
        });
        s_.mean[r] = sum(sums);
      });
    }
    std::fill(s_.d_q, s_.d_q + rows() * s_.wide, 0.0f);
  }

  void store_d_q() const {
    with_activation_type(a_.d_q.dtype(), [&](auto* type) {
      for (int64_t r = 0; r < rows(); ++r) {
        auto* to = head_of<std::remove_pointer_t<decltype(type)>>(a_.d_q, row_of(r), head_);
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          store_some(to + i, load_some(to + i, n) + load(s_.d_q + r * s_.wide + i), n);
        });
      }
    });
  }

  // Keys that rows first … last of the block see, counted from place c.
  Span seen(int64_t c, int64_t first, int64_t last) const {
    const int64_t begin = p_.first_key(sequence_, first_ + first) - c;
    const int64_t end = p_.end_key(sequence_, first_ + last) - c;
    return {std::clamp<int64_t>(begin, 0, kGradientChunk),
            std::clamp<int64_t>(end, 0, kGradientChunk)};
  }

  // Rows of the block that see one of the keys first … last at places from c.
  Span seers(int64_t c, int64_t first, int64_t last) const {
    const int64_t before = sequence_.keys - sequence_.length + first_;
    const int64_t begin = p_.mask == Mask::causal ? c + first - before : 0;
    const int64_t end = p_.window > 0 ? c + last + p_.window - before : rows();
    return {std::clamp<int64_t>(begin, 0, rows()), std::clamp<int64_t>(end, 0, rows())};
  }

  void chunk(int64_t c, GradientSums sums) {
    const Span keys = seen(c, 0, rows() - 1);
    if (keys.begin >= keys.end) {
      return;
    }
    int64_t key_rows[kGradientChunk];
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      key_rows[j] = sequence_.key_row(c + j);
    }
    load_keys(keys, key_rows);
    for (int64_t r = 0; r < rows(); r += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, rows() - r));
      with_rows(count, [&](auto n) { row_tile<n>(c, r, keys); });
    }
    for (int64_t j = keys.begin; j < keys.end; j += kTileRows) {
      const int count = static_cast<int>(std::min<int64_t>(kTileRows, keys.end - j));
      with_rows(count, [&](auto n) { key_tile<n>(j, seers(c, j, j + count - 1)); });
    }
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      add_to(sums.d_k + key_rows[j] * s_.wide, s_.d_keys + j * s_.wide);
      add_to(sums.d_v + key_rows[j] * s_.wide, s_.d_values + j * s_.wide);
    }
  }

  void add_to(float* to, const float* what) const {
    for (int64_t i = 0; i < s_.wide; i += Vec::kLanes) {
      store(to + i, load(to + i) + load(what + i));
    }
  }

  void load_keys(Span keys, const int64_t* key_rows) {
    const int64_t kv_head = head_ / p_.group();
    const T* const k = head_of<T>(p_.k, 0, kv_head);
    const T* const v = head_of<T>(p_.v, 0, kv_head);
    const auto key = [&](int64_t j) { return k + key_rows[j] * p_.k.stride(0); };
    const auto value = [&](int64_t j) { return v + key_rows[j] * p_.v.stride(0); };
    pack_columns<Units::floats>(key, keys.begin, keys.end, p_.dim(), s_.key_columns,
                                kGradientChunk);
    pack_columns<Units::floats>(value, keys.begin, keys.end, p_.dim(), s_.value_columns,
                                kGradientChunk);
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      for_lanes(p_.dim(), [&](int64_t i, int n) {
        store(s_.keys + j * s_.wide + i, load_some(key(j) + i, n));
      });
    }
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

  const AttentionProblem& p_;
  const AttentionBackwardArgs& a_;
  GradientScratch s_;
  KeySequence sequence_;
  int64_t head_ = 0;
  int64_t first_ = 0;
  int64_t end_ = 0;
};

}  // namespace offbook::ops::OB_ISA
