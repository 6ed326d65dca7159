// GELU of a vector. Include after isa_begin.h.
#pragma once
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

// x · Φ(x) by Abramowitz and Stegun 7.1.26: the error of erf is below 1.5e-7.
inline Vec gelu_of(Vec x) {
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

}  // namespace offbook::ops::OB_ISA
