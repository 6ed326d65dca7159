#include <cmath>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void adamw(const ExecutionContext&, const AdamwArgs& a) {
  const double b1 = a.beta1;
  const double b2 = a.beta2;
  const double correct1 = 1 - std::pow(b1, static_cast<double>(a.step));
  const double correct2 = 1 - std::pow(b2, static_cast<double>(a.step));
  for (int64_t i = 0; i < a.param.dim(0); ++i) {
    const double g = get(a.grad, i) * a.grad_scale;
    const double m = b1 * get(a.m, i) + (1 - b1) * g;
    const double v = b2 * get(a.v, i) + (1 - b2) * g * g;
    const double decayed = get(a.param, i) * (1 - static_cast<double>(a.lr) * a.weight_decay);
    const double p = decayed - a.lr * (m / correct1) / (std::sqrt(v / correct2) + a.eps);
    set(a.m, m, i);
    set(a.v, v, i);
    set(a.param, p, i);
    if (a.copy.defined()) {
      set(a.copy, get(a.param, i), i);
    }
  }
}

void sum_squares(const ExecutionContext&, const SumSquaresArgs& a) {
  const Tensor x = a.x.reshape({a.x.numel()});
  double total = 0;
  for (int64_t i = 0; i < x.dim(0); ++i) {
    total += get(x, i) * get(x, i);
  }
  const Tensor out = a.out.reshape({1});
  set(out, get(out, 0) + total, 0);
}

}  // namespace offbook::ops::ref
