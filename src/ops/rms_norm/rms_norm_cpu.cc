#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 16;    // 16 rows of 576 floats: 36 kB, about 4 µs
constexpr int64_t kColumnsPerTask = 64;  // of d_weight: four cache lines, each task reads all rows

template <typename T>
float inverse_rms(const T* x, int64_t dim, float eps) {
  Vec squares = zero();
  for_lanes(dim, [&](int64_t i, int n) {
    const Vec v = load_some(x + i, n);
    squares = fma(v, v, squares);
  });
  return 1.0f / std::sqrt(sum(squares) / static_cast<float>(dim) + eps);
}

template <typename X, typename W, typename O>
void forward_row(const X* x, const W* weight, float eps, int64_t dim, O* out) {
  const Vec r = splat(inverse_rms(x, dim, eps));
  for_lanes(dim, [&](int64_t i, int n) {
    store_some(out + i, load_some(x + i, n) * r * load_some(weight + i, n), n);
  });
}

template <typename X, typename W, typename D, typename G>
void backward_row(const X* x, const W* weight, const D* d_out, float eps, int64_t dim, Write write, G* d_x) {
  const float r = inverse_rms(x, dim, eps);
  Vec products = zero();
  for_lanes(dim, [&](int64_t i, int n) {
    products = fma(load_some(d_out + i, n) * load_some(weight + i, n), load_some(x + i, n), products);
  });
  const Vec along = splat(-r * r * r * sum(products) / static_cast<float>(dim));
  for_lanes(dim, [&](int64_t i, int n) {
    Vec g = load_some(d_out + i, n) * load_some(weight + i, n) * splat(r) + load_some(x + i, n) * along;
    if (write == Write::accumulate) {
      g = g + load_some(d_x + i, n);
    }
    store_some(d_x + i, g, n);
  });
}

// d_weight[c] += Σ_rows d_out · x / rms(x): every task owns some columns and walks all rows, so the
// order of the sum does not depend on the number of threads.
template <typename X, typename D>
void weight_gradient(const ExecutionContext& ctx, const RmsNormBackwardArgs& a, const Tensor& inverse) {
  const Rows x(a.x);
  const Rows d_out(a.d_out);
  const auto* r = inverse.data<float>();
  auto* d_weight = a.d_weight.data<float>();
  ctx.pool->parallel_for(x.dim(), kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < x.count(); ++row) {
      const X* xr = x.row<X>(row) + begin;
      const D* dr = d_out.row<D>(row) + begin;
      for_lanes(end - begin, [&](int64_t i, int n) {
        float* at = d_weight + begin + i;
        store_some(at, fma(load_some(dr + i, n) * splat(r[row]), load_some(xr + i, n), load_some(at, n)), n);
      });
    }
  });
}

}  // namespace

void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) {
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.weight.dtype(), [&](auto* wt) {
      with_activation_type(a.out.dtype(), [&](auto* ot) {
        using X = std::remove_pointer_t<decltype(xt)>;
        using W = std::remove_pointer_t<decltype(wt)>;
        using O = std::remove_pointer_t<decltype(ot)>;
        const Rows x(a.x);
        const Rows out(a.out);
        const W* weight = a.weight.data<W>();
        ctx.pool->parallel_for(x.count(), kRowsPerTask, [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            forward_row(x.row<X>(r), weight, a.eps, x.dim(), out.row<O>(r));
          }
        });
      });
    });
  });
}

void rms_norm_backward(const ExecutionContext& ctx, const RmsNormBackwardArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Rows x(a.x);
  const Rows d_out(a.d_out);
  const Rows d_x(a.d_x);
  with_activation_type(a.x.dtype(), [&](auto* xt) {
    with_activation_type(a.d_out.dtype(), [&](auto* dt) {
      using X = std::remove_pointer_t<decltype(xt)>;
      using D = std::remove_pointer_t<decltype(dt)>;
      if (a.d_weight.defined()) {  // before d_x, which may be where x or d_out stands
        const Tensor inverse = ctx.make(Dtype::f32, {x.count()});
        for (int64_t r = 0; r < x.count(); ++r) {
          inverse.data<float>()[r] = inverse_rms(x.row<X>(r), x.dim(), a.eps);
        }
        weight_gradient<X, D>(ctx, a, inverse);
      }
      with_activation_type(a.weight.dtype(), [&](auto* wt) {
        with_activation_type(a.d_x.dtype(), [&](auto* gt) {
          using W = std::remove_pointer_t<decltype(wt)>;
          using G = std::remove_pointer_t<decltype(gt)>;
          const W* weight = a.weight.data<W>();
          ctx.pool->parallel_for(x.count(), kRowsPerTask, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
              backward_row(x.row<X>(r), weight, d_out.row<D>(r), a.eps, x.dim(), a.write, d_x.row<G>(r));
            }
          });
        });
      });
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
