// What both ways of differentiating attention on a CPU share (docs/derivations/attention.md).
// Include after isa_begin.h.
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

// Where an item sums gradients of keys and values: [rows of k, wide] each.
struct GradientSums {
  float* d_k;
  float* d_v;
};

// Blocks of queries of one head over chunks of keys. Kernels loads the rows of a block, adds what a
// chunk gives to the gradients, and leaves those of the queries at d_q [rows, wide].
template <typename Kernels>
class GradientWalk {
 public:
  // Adds the gradients of one head of one sequence: to d_q, and to sums.
  void run(const KeySequence& sequence, int64_t head, GradientSums sums) {
    auto& kernels = static_cast<Kernels&>(*this);
    sequence_ = sequence;
    head_ = head;
    for (first_ = 0; first_ < sequence.length; first_ += kGradientRows) {
      end_ = std::min(first_ + kGradientRows, sequence.length);
      kernels.load_rows();
      const int64_t last_key = p_.end_key(sequence, end_ - 1);
      for (int64_t c = p_.first_key(sequence, first_) / kGradientChunk * kGradientChunk;
           c < last_key; c += kGradientChunk) {
        const Span keys = seen(c, 0, rows() - 1);
        if (keys.begin < keys.end) {
          find_rows(c, keys);
          kernels.chunk(c, keys, sums);
        }
      }
      store_d_q(kernels.d_q());
    }
  }

 protected:
  GradientWalk(const AttentionProblem& problem, const AttentionBackwardArgs& args)
      : p_(problem),
        a_(args),
        wide_((problem.dim() + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes) {}

  int64_t rows() const { return end_ - first_; }
  int64_t row_of(int64_t r) const { return sequence_.query_begin + first_ + r; }
  // Row of k and v that has the key at place j of the chunk.
  int64_t key_row(int64_t j) const { return key_rows_[j]; }

  // Calls fn(j → row of T) for the keys and for the values of the head.
  template <typename T, typename Fn>
  void with_keys_and_values(const Fn& fn) const {
    const int64_t kv_head = head_ / p_.group();
    const T* const k = head_of<T>(p_.k, 0, kv_head);
    const T* const v = head_of<T>(p_.v, 0, kv_head);
    fn([&](int64_t j) { return k + key_rows_[j] * p_.k.stride(0); },
       [&](int64_t j) { return v + key_rows_[j] * p_.v.stride(0); });
  }

  // lse · log2 e of a row of the block.
  float lse_of(int64_t r) const {
    return p_.lse.template data<float>()[row_of(r) * p_.heads() + head_] * kLog2E;
  }
  // Σ d_out · out of a row.
  float mean_of(int64_t r) const {
    float mean = 0;
    with_activation_type(p_.out.dtype(), [&](auto* out_type) {
      with_activation_type(a_.d_out.dtype(), [&](auto* d_type) {
        const auto* out =
            head_of<std::remove_pointer_t<decltype(out_type)>>(p_.out, row_of(r), head_);
        const auto* d =
            head_of<std::remove_pointer_t<decltype(d_type)>>(a_.d_out, row_of(r), head_);
        Vec sums = zero();
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          sums = fma(load_some(out + i, n), load_some(d + i, n), sums);
        });
        mean = sum(sums);
      });
    });
    return mean;
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

  // to += what, a row as wide as a sum.
  void add_row(float* to, const float* what) const {
    for (int64_t i = 0; i < wide_; i += Vec::kLanes) {
      store(to + i, load(to + i) + load(what + i));
    }
  }

  const AttentionProblem& p_;
  const AttentionBackwardArgs& a_;
  int64_t wide_;
  KeySequence sequence_;
  int64_t head_ = 0;
  int64_t first_ = 0;
  int64_t end_ = 0;

 private:
  void find_rows(int64_t c, Span keys) {
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      key_rows_[j] = sequence_.key_row(c + j);
    }
  }

  void store_d_q(const float* d_q) const {
    with_activation_type(a_.d_q.dtype(), [&](auto* type) {
      for (int64_t r = 0; r < rows(); ++r) {
        auto* to = head_of<std::remove_pointer_t<decltype(type)>>(a_.d_q, row_of(r), head_);
        for_lanes(p_.dim(), [&](int64_t i, int n) {
          store_some(to + i, load_some(to + i, n) + load(d_q + r * wide_ + i), n);
        });
      }
    });
  }

  int64_t key_rows_[kGradientChunk];
};

}  // namespace offbook::ops::OB_ISA
