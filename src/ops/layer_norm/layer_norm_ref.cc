#include <cmath>
#include <vector>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void layer_norm(const ExecutionContext&, const LayerNormArgs& a) {
  const int64_t dim = a.x.dim(1);
  std::vector<double> y(static_cast<size_t>(dim));
  for (int64_t n = 0; n < a.x.dim(0); ++n) {
    double mean = 0;
    for (int64_t i = 0; i < dim; ++i) {
      y[static_cast<size_t>(i)] = get(a.x, n, i) + (a.residual.defined() ? get(a.residual, n, i) : 0);
      mean += y[static_cast<size_t>(i)] / static_cast<double>(dim);
    }
    double variance = 0;
    for (const double v : y) {
      variance += (v - mean) * (v - mean) / static_cast<double>(dim);
    }
    for (int64_t i = 0; i < dim; ++i) {
      const double z = (y[static_cast<size_t>(i)] - mean) / std::sqrt(variance + a.eps);
      set(a.out, z * get(a.weight, i) + get(a.bias, i), n, i);
    }
  }
}

}  // namespace offbook::ops::ref
