#include <cmath>
#include <vector>

#include "src/ops/attention/checks.h"
#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

// One query row: the rows of k and v it sees, and the weight of each.
struct Seen {
  std::vector<int64_t> rows;
  std::vector<double> weights;  // softmax
  double lse = 0;
};

// Row of k at place j of a sequence: the prefix, then its own keys.
int64_t key_row(const AttentionSequence& s, int64_t j) {
  return j < s.prefix_len ? s.prefix_begin + j : s.own_begin + j - s.prefix_len;
}

Seen look(const AttentionArgs& a, const AttentionSequence& s, int64_t t, int64_t head) {
  const int64_t position = s.prefix_len + t;
  const int64_t end = a.mask == Mask::causal ? position + 1 : s.prefix_len + s.length;
  const int64_t begin = a.window > 0 && position - a.window + 1 > 0 ? position - a.window + 1 : 0;
  const int64_t kv_head = head / (a.q.dim(1) / a.k.dim(1));
  Seen seen;
  double highest = -INFINITY;
  for (int64_t j = begin; j < end; ++j) {
    seen.rows.push_back(key_row(s, j));
    double dot = 0;
    for (int64_t i = 0; i < a.q.dim(2); ++i) {
      dot += get(a.q, s.query_begin + t, head, i) * get(a.k, seen.rows.back(), kv_head, i);
    }
    seen.weights.push_back(dot * a.scale);
    highest = std::max(highest, seen.weights.back());
  }
  double sum = 0;
  for (const double x : seen.weights) {
    sum += std::exp(x - highest);
  }
  seen.lse = highest + std::log(sum);
  for (double& x : seen.weights) {
    x = std::exp(x - seen.lse);
  }
  return seen;
}

// Calls fn(query row, head, kv head, what it sees) for every query of every sequence.
template <typename Fn>
void each_query(const AttentionArgs& a, const Fn& fn) {
  const auto* sequences = reinterpret_cast<const AttentionSequence*>(a.sequences.raw());
  for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
    for (int64_t t = 0; t < sequences[i].length; ++t) {
      for (int64_t h = 0; h < a.q.dim(1); ++h) {
        fn(sequences[i].query_begin + t, h, h / (a.q.dim(1) / a.k.dim(1)),
           look(a, sequences[i], t, h));
      }
    }
  }
}

// Sums in double, added to a tensor at the end.
class Sums {
 public:
  explicit Sums(const Tensor& t) : to_(t), sums_(static_cast<size_t>(t.numel()), 0.0) {}
  double& at(int64_t n, int64_t h, int64_t i) {
    return sums_[static_cast<size_t>((n * to_.dim(1) + h) * to_.dim(2) + i)];
  }
  ~Sums() {
    for (int64_t n = 0; n < to_.dim(0); ++n) {
      for (int64_t h = 0; h < to_.dim(1); ++h) {
        for (int64_t i = 0; i < to_.dim(2); ++i) {
          set(to_, get(to_, n, h, i) + at(n, h, i), n, h, i);
        }
      }
    }
  }
  Sums(const Sums&) = delete;
  Sums& operator=(const Sums&) = delete;

 private:
  Tensor to_;
  std::vector<double> sums_;
};

}  // namespace

void attention(const ExecutionContext&, const AttentionArgs& a) {
  each_query(a, [&](int64_t n, int64_t h, int64_t kv, const Seen& seen) {
    for (int64_t i = 0; i < a.q.dim(2); ++i) {
      double sum = 0;
      for (size_t j = 0; j < seen.rows.size(); ++j) {
        sum += seen.weights[j] * get(a.v, seen.rows[j], kv, i);
      }
      set(a.out, sum, n, h, i);
    }
    if (a.lse.defined()) {
      set(a.lse, seen.lse, n, h);
    }
  });
}

// docs/derivations/attention.md, term by term; own softmax, not the forward's lse.
void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& b) {
  clear_overwritten(ctx, b);
  const AttentionArgs& a = b.forward;
  const int64_t dim = a.q.dim(2);
  Sums d_q(b.d_q);
  Sums d_k(b.d_k);
  Sums d_v(b.d_v);
  each_query(a, [&](int64_t n, int64_t h, int64_t kv, const Seen& seen) {
    std::vector<double> d_weights;
    double mean = 0;
    for (size_t j = 0; j < seen.rows.size(); ++j) {
      double d = 0;
      for (int64_t i = 0; i < dim; ++i) {
        d += get(b.d_out, n, h, i) * get(a.v, seen.rows[j], kv, i);
        d_v.at(seen.rows[j], kv, i) += seen.weights[j] * get(b.d_out, n, h, i);
      }
      d_weights.push_back(d);
      mean += seen.weights[j] * d;
    }
    for (size_t j = 0; j < seen.rows.size(); ++j) {
      const double d_score = seen.weights[j] * (d_weights[j] - mean) * a.scale;
      for (int64_t i = 0; i < dim; ++i) {
        d_q.at(n, h, i) += d_score * get(a.k, seen.rows[j], kv, i);
        d_k.at(seen.rows[j], kv, i) += d_score * get(a.q, n, h, i);
      }
    }
  });
}

}  // namespace offbook::ops::ref
