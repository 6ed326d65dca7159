#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

TEST(LayerNorm, EqualsTheReference) {
  for (const Shape& shape : {Shape{2, 5}, Shape{33, 384}, Shape{3, 391}, Shape{0, 4}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const bool residual : {false, true}) {
        testing::check("layer_norm " + to_string(shape),
                       dtype == Dtype::f32 ? testing::f32_tolerance(shape[1]) : testing::bf16_tolerance(),
                       [&](auto& ctx, auto& c) {
                         const Tensor x = c.input(dtype, shape);
                         const Tensor weight = c.input(Dtype::f32, {shape[1]});
                         const Tensor bias = c.input(Dtype::f32, {shape[1]});
                         const Tensor r = residual ? c.input(dtype, shape) : Tensor();
                         layer_norm(ctx, {.x = x,
                                          .residual = r,
                                          .weight = weight,
                                          .bias = bias,
                                          .out = c.output(dtype, shape)});
                       });
      }
    }
  }
}

}  // namespace
}  // namespace offbook::ops
