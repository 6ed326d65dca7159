#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kElemsPerTask = 16384;

// x · Φ(x) by Abramowitz and Stegun 7.1.26: the error of erf is below 1.5e-7.
Vec gelu_of(Vec x) {
  const Vec z = abs(x) * splat(0.70710678f);
  const Vec t = splat(1.0f) / fma(z, splat(0.3275911f), splat(1.0f));
  Vec p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const Vec tail = p * t * exp(zero() - z * z);  // erfc(z)
  // For x ≥ 0: x (1 − tail/2); for x < 0: x tail/2. Both are max(x, 0) − |x| tail/2.
  return max(x, zero()) - abs(x) * tail * splat(0.5f);
}

}  // namespace

void gelu(const ExecutionContext& ctx, const GeluArgs& a) {
  with_activation_type(a.x.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    const T* x = a.x.data<T>();
    T* out = a.out.data<T>();
    ctx.pool->parallel_for(a.x.numel(), kElemsPerTask, [&](int64_t begin, int64_t end) {
      for_lanes(end - begin, [&](int64_t i, int n) {
        store_some(out + begin + i, gelu_of(load_some(x + begin + i, n)), n);
      });
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
