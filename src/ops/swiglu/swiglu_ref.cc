#include <cmath>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void swiglu(const ExecutionContext&, const SwigluArgs& a) {
  for (int64_t n = 0; n < a.gate.dim(0); ++n) {
    for (int64_t i = 0; i < a.gate.dim(1); ++i) {
      const double g = get(a.gate, n, i);
      set(a.out, g / (1 + std::exp(-g)) * get(a.up, n, i), n, i);
    }
  }
}

void swiglu_backward(const ExecutionContext& ctx, const SwigluBackwardArgs& a) {
  if (a.out.defined()) {
    swiglu(ctx, {.gate = a.gate, .up = a.up, .out = a.out});
  }
  for (int64_t n = 0; n < a.gate.dim(0); ++n) {
    for (int64_t i = 0; i < a.gate.dim(1); ++i) {
      const double g = get(a.gate, n, i);
      const double s = 1 / (1 + std::exp(-g));
      const double d = get(a.d_out, n, i);
      const double up = get(a.up, n, i);
      set(a.d_up, d * g * s, n, i);
      set(a.d_gate, d * up * s * (1 + g * (1 - s)), n, i);
    }
  }
}

}  // namespace offbook::ops::ref
