#include <cmath>

#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kElemsPerTask = 16384;  // four streams of 64 kB

#if defined(OB_ISA_AVX512)
Vec root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
#else
Vec root(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
#endif

}  // namespace

void adamw(const ExecutionContext& ctx, const AdamwArgs& a) {
  const double step = static_cast<double>(a.step);
  const double correct1 = 1 - std::pow(static_cast<double>(a.beta1), step);
  const double correct2 = 1 - std::pow(static_cast<double>(a.beta2), step);
  const Vec rate = splat(static_cast<float>(a.lr / correct1));
  const Vec inverse_root2 = splat(static_cast<float>(1 / std::sqrt(correct2)));
  const Vec keep = splat(static_cast<float>(1 - static_cast<double>(a.lr) * a.weight_decay));
  const Vec beta1 = splat(a.beta1);
  const Vec beta2 = splat(a.beta2);
  const Vec rest1 = splat(static_cast<float>(1 - static_cast<double>(a.beta1)));
  const Vec rest2 = splat(static_cast<float>(1 - static_cast<double>(a.beta2)));
  const Vec eps = splat(a.eps);
  const Vec scale = splat(a.grad_scale);
  float* param = a.param.data<float>();
  const float* grad = a.grad.data<float>();
  float* first = a.m.data<float>();
  float* second = a.v.data<float>();
  Bf16* copy = a.copy.defined() ? a.copy.data<Bf16>() : nullptr;
  ctx.pool->parallel_for(a.param.dim(0), kElemsPerTask, [&](int64_t begin, int64_t end) {
    for_lanes(end - begin, [&](int64_t offset, int n) {
      const int64_t i = begin + offset;
      const Vec g = load_some(grad + i, n) * scale;
      const Vec m = fma(beta1, load_some(first + i, n), rest1 * g);
      const Vec v = fma(beta2, load_some(second + i, n), rest2 * g * g);
      const Vec p = load_some(param + i, n) * keep - rate * m / (root(v) * inverse_root2 + eps);
      store_some(first + i, m, n);
      store_some(second + i, v, n);
      store_some(param + i, p, n);
      if (copy != nullptr) {
        store_some(copy + i, p, n);
      }
    });
  });
}

void sum_squares(const ExecutionContext& ctx, const SumSquaresArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const int64_t n = a.x.numel();
  const int64_t tasks = (n + kElemsPerTask - 1) / kElemsPerTask;
  const Tensor partial = ctx.make(Dtype::f32, {tasks});
  with_activation_type(a.x.dtype(), [&](auto* tag) {
    const auto* x = a.x.data<OB_TYPE(tag)>();
    ctx.pool->run(tasks, [&](int64_t task) {
      const int64_t begin = task * kElemsPerTask;
      Vec squares = zero();
      for_lanes(std::min(kElemsPerTask, n - begin), [&](int64_t i, int lanes) {
        const Vec v = load_some(x + begin + i, lanes);
        squares = fma(v, v, squares);
      });
      partial.data<float>()[task] = sum(squares);
    });
  });
  double total = 0;
  for (int64_t task = 0; task < tasks; ++task) {
    total += partial.data<float>()[task];
  }
  *reinterpret_cast<float*>(a.out.raw()) += static_cast<float>(total);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
