#include <cmath>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void gelu(const ExecutionContext&, const GeluArgs& a) {
  const Tensor x = a.x.reshape({a.x.numel()});
  const Tensor out = a.out.reshape({a.x.numel()});
  for (int64_t i = 0; i < x.dim(0); ++i) {
    const double v = get(x, i);
    set(out, 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))), i);
  }
}

}  // namespace offbook::ops::ref
