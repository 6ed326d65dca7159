#include <cmath>

#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int64_t kPerThread = 4;
constexpr int kBlock = 256;
constexpr int64_t kMostParts = 1024;

struct Step {
  float* param;
  const float* grad;
  float* m;
  float* v;
  bf16* copy;
  int64_t n;
  float grad_scale, beta1, beta2, decay, rate, eps, root_correction;
};

__device__ float updated(const Step& s, float param, float grad, float& m, float& v) {
  const float g = grad * s.grad_scale;
  m = s.beta1 * m + (1.0f - s.beta1) * g;
  v = s.beta2 * v + (1.0f - s.beta2) * g * g;
  return param * s.decay - s.rate * m / (sqrtf(v) / s.root_correction + s.eps);
}

__global__ void adamw_step(Step s, bool aligned) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kPerThread;
  if (aligned && i + kPerThread <= s.n) {
    float4 p = *reinterpret_cast<float4*>(s.param + i);
    const float4 g = *reinterpret_cast<const float4*>(s.grad + i);
    float4 m = *reinterpret_cast<float4*>(s.m + i);
    float4 v = *reinterpret_cast<float4*>(s.v + i);
    p = make_float4(updated(s, p.x, g.x, m.x, v.x), updated(s, p.y, g.y, m.y, v.y),
                    updated(s, p.z, g.z, m.z, v.z), updated(s, p.w, g.w, m.w, v.w));
    *reinterpret_cast<float4*>(s.param + i) = p;
    *reinterpret_cast<float4*>(s.m + i) = m;
    *reinterpret_cast<float4*>(s.v + i) = v;
    if (s.copy != nullptr) {
      *reinterpret_cast<uint2*>(s.copy + i) = make_uint2(pack(p.x, p.y), pack(p.z, p.w));
    }
    return;
  }
  for (int64_t j = i; j < min(i + kPerThread, s.n); ++j) {
    s.param[j] = updated(s, s.param[j], s.grad[j], s.m[j], s.v[j]);
    if (s.copy != nullptr) {
      s.copy[j] = __float2bfloat16_rn(s.param[j]);
    }
  }
}

template <class A>
__global__ void sum_squares_parts(A x, int64_t n, int64_t per_part, bool aligned, float* parts) {
  const int64_t begin = blockIdx.x * per_part;
  const int64_t end = min(begin + per_part, n);
  float sum = 0;
  for (int64_t i = begin + threadIdx.x * 8; i < end; i += kBlock * 8) {
    float v[8] = {};
    if (aligned && i + 8 <= end) {
      x.get8(i, v);
    } else {
      for (int j = 0; j < 8 && i + j < end; ++j) {
        v[j] = x.get(i + j);
      }
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sum += v[j] * v[j];
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
  }
}

__global__ void add_to_scalar(const float* parts, int64_t count, float* out) {
  float sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kBlock) {
    sum += parts[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *out += sum;
  }
}

}  // namespace

void adamw(const ExecutionContext& ctx, const AdamwArgs& a) {
  const auto steps = static_cast<double>(a.step);
  const double correction1 = 1.0 - std::pow(static_cast<double>(a.beta1), steps);
  const double correction2 = 1.0 - std::pow(static_cast<double>(a.beta2), steps);
  const Step step{.param = a.param.data<float>(),
                  .grad = a.grad.data<float>(),
                  .m = a.m.data<float>(),
                  .v = a.v.data<float>(),
                  .copy = a.copy.defined() ? a.copy.data<bf16>() : nullptr,
                  .n = a.param.numel(),
                  .grad_scale = a.grad_scale,
                  .beta1 = a.beta1,
                  .beta2 = a.beta2,
                  .decay = static_cast<float>(1.0 - static_cast<double>(a.lr) * a.weight_decay),
                  .rate = static_cast<float>(a.lr / correction1),
                  .eps = a.eps,
                  .root_correction = static_cast<float>(std::sqrt(correction2))};
  const auto bits = reinterpret_cast<uintptr_t>(step.param) |
                    reinterpret_cast<uintptr_t>(step.grad) | reinterpret_cast<uintptr_t>(step.m) |
                    reinterpret_cast<uintptr_t>(step.v) | reinterpret_cast<uintptr_t>(step.copy);
  launch(ctx, "adamw", threads_for(div_up(step.n, kPerThread), kBlock), adamw_step, step,
         bits % 16 == 0);
}

void sum_squares(const ExecutionContext& ctx, const SumSquaresArgs& a) {
  const int64_t n = a.x.numel();
  if (n == 0) {
    return;
  }
  const int64_t per_part = div_up(std::max<int64_t>(div_up(n, kMostParts), 8 * kBlock), 8) * 8;
  const int64_t parts = div_up(n, per_part);
  backend::ArenaScope scope(*ctx.arena);
  const Tensor sums = ctx.make(Dtype::f32, {parts});
  with_elements({&a.x}, [&](auto accessor) {
    using A = decltype(accessor);
    launch(ctx, "sum_squares_parts", {dim3(blocks_x(parts)), dim3(kBlock)}, sum_squares_parts<A>,
           elements<A>(a.x), n, per_part, reinterpret_cast<uintptr_t>(a.x.raw()) % 16 == 0,
           sums.data<float>());
  });
  launch(ctx, "sum_squares", {dim3(1), dim3(kBlock)}, add_to_scalar, sums.data<float>(), parts,
         a.out.data<float>());
}

}  // namespace offbook::ops::cuda
