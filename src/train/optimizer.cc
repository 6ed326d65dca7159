#include "src/train/optimizer.h"

#include <cmath>

#include "src/backend/transfer.h"
#include "src/ops/registry.h"

namespace offbook::train {
namespace {

Tensor cleared(const backend::ExecutionContext& ctx, const Shape& shape) {
  const Tensor t(ctx.arena->allocator().allocate(static_cast<size_t>(shape.numel()) * sizeof(float)), Dtype::f32, shape);
  ops::fill(ctx, {.value = 0, .out = t.reshape({shape.numel()})});
  return t;
}

Tensor flat(const Tensor& t) { return t.reshape({t.numel()}); }

double gradient_norm(const backend::ExecutionContext& ctx, const std::vector<Parameter>& parameters) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor total = ctx.make(Dtype::f32, {1});
  ops::fill(ctx, {.value = 0, .out = total});
  for (const Parameter& p : parameters) {
    ops::sum_squares(ctx, {.x = p.grad, .out = total});
  }
  float squares = 0;
  backend::download(ctx, total, std::as_writable_bytes(std::span(&squares, 1)));
  return std::sqrt(static_cast<double>(squares));
}

}  // namespace

Parameter make_parameter(const backend::ExecutionContext& ctx, std::string name, const Tensor& value) {
  OB_REQUIRE(value.dtype() == Dtype::f32 && value.is_contiguous(), InvalidArgument, "{}: parameters are contiguous f32, not {}",
             name, to_string(value));
  const Shape& shape = value.shape();
  return {.name = std::move(name),
          .value = value,
          .grad = cleared(ctx, shape),
          .m = cleared(ctx, shape),
          .v = cleared(ctx, shape)};
}

double adamw_step(const backend::ExecutionContext& ctx, std::vector<Parameter>& parameters, const AdamwOptions& options,
                  float lr, int64_t step, float grad_scale) {
  const double norm = gradient_norm(ctx, parameters) * grad_scale;
  if (std::isfinite(norm)) {
    const double clip = options.clip_norm > 0 && norm > options.clip_norm ? options.clip_norm / norm : 1;
    for (Parameter& p : parameters) {
      ops::adamw(ctx, {.param = flat(p.value),
                       .grad = flat(p.grad),
                       .m = flat(p.m),
                       .v = flat(p.v),
                       .lr = lr * p.lr_scale,
                       .beta1 = options.beta1,
                       .beta2 = options.beta2,
                       .eps = options.eps,
                       .weight_decay = options.weight_decay,
                       .step = step,
                       .grad_scale = static_cast<float>(grad_scale * clip)});
    }
  }
  for (Parameter& p : parameters) {
    ops::fill(ctx, {.value = 0, .out = flat(p.grad)});
  }
  return norm;
}

float cosine_rate(float lr, int64_t step, int64_t steps, int64_t warmup, float floor) {
  if (step <= warmup) {
    return lr * static_cast<float>(step) / static_cast<float>(warmup);
  }
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, steps - warmup));
  const double cosine = 0.5 * (1 + std::cos(3.141592653589793 * std::min(1.0, progress)));
  return static_cast<float>(lr * (floor + (1 - floor) * cosine));
}

}  // namespace offbook::train
