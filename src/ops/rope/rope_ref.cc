#include <cmath>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void rope_table(const ExecutionContext&, const RopeTableArgs& a) {
  const int64_t half = a.inv_freq.dim(0);
  for (int64_t n = 0; n < a.positions.dim(0); ++n) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = get_i32(a.positions, n) * get(a.inv_freq, i);
      set(a.out, std::cos(angle) * a.scale, n, i);
      set(a.out, std::sin(angle) * a.scale, n, half + i);
    }
  }
}

void rope(const ExecutionContext&, const RopeArgs& a) {
  const int64_t half = a.x.dim(2) / 2;
  const auto write = [&](double value, int64_t n, int64_t h, int64_t i) {
    set(a.out, a.write == Write::accumulate ? get(a.out, n, h, i) + value : value, n, h, i);
  };
  for (int64_t n = 0; n < a.x.dim(0); ++n) {
    for (int64_t h = 0; h < a.x.dim(1); ++h) {
      for (int64_t i = 0; i < half; ++i) {
        const double c = get(a.table, n, i);
        const double s = get(a.table, n, half + i) * (a.rotation == Rotation::inverse ? -1 : 1);
        const double x = get(a.x, n, h, i);
        const double y = get(a.x, n, h, half + i);
        write(x * c - y * s, n, h, i);
        write(y * c + x * s, n, h, half + i);
      }
    }
  }
}

}  // namespace offbook::ops::ref
