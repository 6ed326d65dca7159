#include <cmath>

#include "src/ops/cross_entropy/targets.h"
#include "src/ops/dequantize/decode.h"
#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

std::vector<float> decode_all(const Tensor& head) {
  std::vector<float> values(static_cast<size_t>(head.numel()));
  for (int64_t v = 0; v < head.dim(0); ++v) {
    decode(head.dtype(), head.row_raw(v), head.dim(1), values.data() + v * head.dim(1));
  }
  return values;
}

std::vector<double> logits_of(const Tensor& hidden, int64_t row, const std::vector<float>& head) {
  const int64_t dim = hidden.dim(1);
  std::vector<double> logits(head.size() / static_cast<size_t>(dim), 0.0);
  for (size_t v = 0; v < logits.size(); ++v) {
    for (int64_t i = 0; i < dim; ++i) {
      logits[v] +=
          get(hidden, row, i) * head[v * static_cast<size_t>(dim) + static_cast<size_t>(i)];
    }
  }
  return logits;
}

double log_sum_exp(const std::vector<double>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) {
    sum += std::exp(x - top);
  }
  return top + std::log(sum);
}

// Of a row's loss, by its hidden values.
std::vector<double> gradient_of(const std::vector<double>& logits, double lse, int32_t target,
                                const std::vector<float>& head, int64_t dim) {
  const auto width = static_cast<size_t>(dim);
  std::vector<double> out(width, 0.0);
  for (size_t v = 0; v < logits.size() && target >= 0; ++v) {
    const double d = std::exp(logits[v] - lse) - (static_cast<size_t>(target) == v ? 1 : 0);
    for (size_t i = 0; i < width; ++i) {
      out[i] += d * head[v * width + i];
    }
  }
  return out;
}

}  // namespace

void linear_cross_entropy(const ExecutionContext&, const LinearCrossEntropyArgs& a) {
  check_targets(a.targets, a.head.dim(0));
  const std::vector<float> head = decode_all(a.head);
  for (int64_t r = 0; r < a.hidden.dim(0); ++r) {
    const std::vector<double> logits = logits_of(a.hidden, r, head);
    const double lse = log_sum_exp(logits);
    const int32_t target = get_i32(a.targets, r);
    set(a.losses, target < 0 ? 0.0 : lse - logits[static_cast<size_t>(target)], r);
    if (a.lse.defined()) {
      set(a.lse, lse, r);
    }
    if (a.gradient.defined()) {
      const std::vector<double> gradient = gradient_of(logits, lse, target, head, a.hidden.dim(1));
      for (int64_t i = 0; i < a.hidden.dim(1); ++i) {
        set(a.gradient, gradient[static_cast<size_t>(i)], r, i);
      }
    }
  }
}

void linear_cross_entropy_backward(const ExecutionContext&,
                                   const LinearCrossEntropyBackwardArgs& a) {
  const LinearCrossEntropyArgs& f = a.forward;
  check_targets(f.targets, f.head.dim(0));
  const std::vector<float> head = decode_all(f.head);
  const auto dim = static_cast<size_t>(f.hidden.dim(1));
  std::vector<double> d_head(a.d_head.defined() ? head.size() : 0, 0.0);
  for (int64_t r = 0; r < f.hidden.dim(0); ++r) {
    const std::vector<double> logits = logits_of(f.hidden, r, head);
    const double lse = log_sum_exp(logits);
    const int32_t target = get_i32(f.targets, r);
    std::vector<double> d_hidden(dim, 0.0);
    for (size_t v = 0; v < logits.size() && target >= 0; ++v) {
      const double d = get(a.d_losses, r) *
                       (std::exp(logits[v] - lse) - (static_cast<size_t>(target) == v ? 1 : 0));
      for (size_t i = 0; i < dim; ++i) {
        d_hidden[i] += d * head[v * dim + i];
        if (a.d_head.defined()) {
          d_head[v * dim + i] += d * get(f.hidden, r, static_cast<int64_t>(i));
        }
      }
    }
    for (int64_t i = 0; i < f.hidden.dim(1); ++i) {
      const double g = d_hidden[static_cast<size_t>(i)];
      set(a.d_hidden, a.write == Write::accumulate ? get(a.d_hidden, r, i) + g : g, r, i);
    }
  }
  for (size_t at = 0; at < d_head.size(); ++at) {
    const auto v = static_cast<int64_t>(at / dim);
    const auto i = static_cast<int64_t>(at % dim);
    set(a.d_head, get(a.d_head, v, i) + d_head[at], v, i);
  }
}

}  // namespace offbook::ops::ref
