#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 8;  // 8 rows of 1536: three streams of 48 kB

Vec sigmoid(Vec x) {
  return splat(1.0f) / (splat(1.0f) + exp(zero() - x));
}

}  // namespace

void swiglu(const ExecutionContext& ctx, const SwigluArgs& a) {
  const Rows gate(a.gate);
  const Rows up(a.up);
  const Rows out(a.out);
  with_activation_type(a.gate.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    ctx.pool->parallel_for(gate.count(), kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* g = gate.row<T>(r);
        const T* u = up.row<T>(r);
        T* o = out.row<T>(r);
        for_lanes(gate.dim(), [&](int64_t i, int n) {
          const Vec x = load_some(g + i, n);
          store_some(o + i, x * sigmoid(x) * load_some(u + i, n), n);
        });
      }
    });
  });
}

void swiglu_backward(const ExecutionContext& ctx, const SwigluBackwardArgs& a) {
  if (a.out.defined()) {
    swiglu(ctx, {.gate = a.gate, .up = a.up, .out = a.out});
  }
  const Rows gate(a.gate);
  const Rows up(a.up);
  const Rows d_out(a.d_out);
  const Rows d_gate(a.d_gate);
  const Rows d_up(a.d_up);
  with_activation_type(a.gate.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    ctx.pool->parallel_for(gate.count(), kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* g = gate.row<T>(r);
        const T* u = up.row<T>(r);
        const T* d = d_out.row<T>(r);
        T* dg = d_gate.row<T>(r);
        T* du = d_up.row<T>(r);
        for_lanes(gate.dim(), [&](int64_t i, int n) {
          const Vec x = load_some(g + i, n);
          const Vec s = sigmoid(x);
          const Vec upstream = load_some(d + i, n);
          const Vec uv = load_some(u + i, n);
          store_some(du + i, upstream * x * s, n);
          store_some(dg + i, upstream * uv * s * fma(x, splat(1.0f) - s, splat(1.0f)), n);
        });
      }
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
