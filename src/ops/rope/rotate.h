// The rotation of one head, for rope and kv_write. Include after isa_begin.h.
#pragma once
#include "src/ops/rope/rope.h"
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

struct RotateOptions {
  Rotation rotation = Rotation::forward;
  Write write = Write::overwrite;
};

// out [dim] = x [dim] turned by the angles of a rope_table row; out may be x.
template <typename X, typename O>
inline void rotate_head(const X* x, const float* table, int64_t dim, O* out,
                        const RotateOptions& options) {
  const int64_t half = dim / 2;
  const Vec sign = splat(options.rotation == Rotation::inverse ? -1.0f : 1.0f);
  for_lanes(half, [&](int64_t i, int n) {
    const Vec c = load_some(table + i, n);
    const Vec s = load_some(table + half + i, n) * sign;
    const Vec a = load_some(x + i, n);
    const Vec b = load_some(x + half + i, n);
    Vec first_half = a * c - b * s;
    Vec second_half = b * c + a * s;
    if (options.write == Write::accumulate) {
      first_half = first_half + load_some(out + i, n);
      second_half = second_half + load_some(out + half + i, n);
    }
    store_some(out + i, first_half, n);
    store_some(out + half + i, second_half, n);
  });
}

}  // namespace offbook::ops::OB_ISA
