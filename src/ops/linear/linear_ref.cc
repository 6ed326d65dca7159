#include "src/ops/dequantize/decode.h"
#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

std::vector<double> weight_row(const Tensor& weight, int64_t row) {
  std::vector<float> values(static_cast<size_t>(weight.dim(1)));
  decode(weight.dtype(), weight.row_raw(row), weight.dim(1), values.data());
  return {values.begin(), values.end()};
}

}  // namespace

void linear(const ExecutionContext&, const LinearArgs& a) {
  for (int64_t o = 0; o < a.weight.dim(0); ++o) {
    const std::vector<double> weight = weight_row(a.weight, o);
    for (int64_t r = 0; r < a.x.dim(0); ++r) {
      double sum = 0;
      for (int64_t i = 0; i < a.x.dim(1); ++i) {
        sum += get(a.x, r, i) * weight[static_cast<size_t>(i)];
      }
      double value = a.alpha * sum + (a.bias.defined() ? get(a.bias, o) : 0.0);
      if (a.write == Write::accumulate) {
        value += get(a.out, r, o);
      }
      set(a.out, value, r, o);
    }
  }
}

void linear_backward_input(const ExecutionContext&, const LinearBackwardInputArgs& a) {
  const int64_t in = a.weight.dim(1);
  std::vector<double> sums(static_cast<size_t>(a.d_out.dim(0) * in), 0.0);
  for (int64_t o = 0; o < a.weight.dim(0); ++o) {
    const std::vector<double> weight = weight_row(a.weight, o);
    for (int64_t r = 0; r < a.d_out.dim(0); ++r) {
      for (int64_t i = 0; i < in; ++i) {
        sums[static_cast<size_t>(r * in + i)] +=
            get(a.d_out, r, o) * weight[static_cast<size_t>(i)];
      }
    }
  }
  for (int64_t r = 0; r < a.d_x.dim(0); ++r) {
    for (int64_t i = 0; i < in; ++i) {
      const double value = a.alpha * sums[static_cast<size_t>(r * in + i)];
      set(a.d_x, a.write == Write::accumulate ? get(a.d_x, r, i) + value : value, r, i);
    }
  }
}

void linear_backward_weight(const ExecutionContext&, const LinearBackwardWeightArgs& a) {
  for (int64_t o = 0; o < a.d_weight.dim(0); ++o) {
    for (int64_t i = 0; i < a.d_weight.dim(1); ++i) {
      double sum = 0;
      for (int64_t r = 0; r < a.x.dim(0); ++r) {
        sum += get(a.d_out, r, o) * get(a.x, r, i);
      }
      set(a.d_weight, get(a.d_weight, o, i) + a.alpha * sum, o, i);
    }
    if (a.d_bias.defined()) {
      double sum = 0;
      for (int64_t r = 0; r < a.d_out.dim(0); ++r) {
        sum += get(a.d_out, r, o);
      }
      set(a.d_bias, get(a.d_bias, o) + sum, o);
    }
  }
}

}  // namespace offbook::ops::ref
