#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 16;

template <typename T>
void one_row(const T* x, const T* residual, const LayerNormArgs& a, T* out) {
  const int64_t dim = a.x.dim(1);
  const auto count = static_cast<float>(dim);
  const auto y = [&](int64_t i, int n) {
    const Vec v = load_some(x + i, n);
    return residual == nullptr ? v : v + load_some(residual + i, n);
  };
  Vec total = zero();
  for_lanes(dim, [&](int64_t i, int n) { total = total + y(i, n); });
  const float mean = sum(total) / count;
  // Two passes: the mean of squares less the square of the mean would cancel.
  Vec squares = zero();
  for_lanes(dim, [&](int64_t i, int n) {
    const Vec d = y(i, n) - splat(mean);
    squares = n == Vec::kLanes ? fma(d, d, squares) : squares;
  });
  float rest = 0;
  for (int64_t i = dim / Vec::kLanes * Vec::kLanes; i < dim; ++i) {
    const float d = sum(y(i, 1)) - mean;
    rest += d * d;
  }
  const Vec r = splat(1.0f / std::sqrt((sum(squares) + rest) / count + a.eps));
  const float* weight = a.weight.data<float>();
  const float* bias = a.bias.data<float>();
  for_lanes(dim, [&](int64_t i, int n) {
    store_some(out + i, fma((y(i, n) - splat(mean)) * r, load_some(weight + i, n), load_some(bias + i, n)), n);
  });
}

}  // namespace

void layer_norm(const ExecutionContext& ctx, const LayerNormArgs& a) {
  with_activation_type(a.x.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    const Rows x(a.x);
    const Rows out(a.out);
    const Rows residual(a.residual.defined() ? a.residual : a.x);
    ctx.pool->parallel_for(x.count(), kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        one_row<T>(x.row<T>(r), a.residual.defined() ? residual.row<T>(r) : nullptr, a, out.row<T>(r));
      }
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
