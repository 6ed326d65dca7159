#include <cmath>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

// Calls fn(get, index) for every row, seen as one axis: `at(t, i)` reads element i of the row.
template <typename Fn>
void each_row(const Tensor& x, const Fn& fn) {
  for (int64_t n = 0; n < x.dim(0); ++n) {
    if (x.rank() == 2) {
      fn([n](const Tensor& t) { return t.slice(0, n, n + 1).reshape({t.dim(-1)}); });
      continue;
    }
    for (int64_t h = 0; h < x.dim(1); ++h) {
      fn([n, h](const Tensor& t) { return t.slice(0, n, n + 1).slice(1, h, h + 1).reshape({t.dim(-1)}); });
    }
  }
}

double inverse_rms(const Tensor& x, double eps) {
  double sum = 0;
  for (int64_t i = 0; i < x.dim(0); ++i) {
    sum += get(x, i) * get(x, i);
  }
  return 1.0 / std::sqrt(sum / static_cast<double>(x.dim(0)) + eps);
}

}  // namespace

void rms_norm(const ExecutionContext&, const RmsNormArgs& a) {
  each_row(a.x, [&](const auto& row) {
    const Tensor x = row(a.x);
    const double r = inverse_rms(x, a.eps);
    for (int64_t i = 0; i < x.dim(0); ++i) {
      set(row(a.out), get(x, i) * r * get(a.weight, i), i);
    }
  });
}

void rms_norm_backward(const ExecutionContext&, const RmsNormBackwardArgs& a) {
  const int64_t dim = a.x.dim(-1);
  std::vector<double> d_weight(static_cast<size_t>(dim), 0.0);
  each_row(a.x, [&](const auto& row) {
    const Tensor x = row(a.x);
    const Tensor d_out = row(a.d_out);
    const Tensor d_x = row(a.d_x);
    const double r = inverse_rms(x, a.eps);
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i) {
      dot += get(d_out, i) * get(a.weight, i) * get(x, i);
      d_weight[static_cast<size_t>(i)] += get(d_out, i) * get(x, i) * r;
    }
    for (int64_t i = 0; i < dim; ++i) {
      const double g = r * get(d_out, i) * get(a.weight, i) - get(x, i) * r * r * r * dot / static_cast<double>(dim);
      set(d_x, a.write == Write::accumulate ? get(d_x, i) + g : g, i);
    }
  });
  if (a.d_weight.defined()) {
    for (int64_t i = 0; i < dim; ++i) {
      set(a.d_weight, get(a.d_weight, i) + d_weight[static_cast<size_t>(i)], i);
    }
  }
}

}  // namespace offbook::ops::ref
