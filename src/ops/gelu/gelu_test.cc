#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

TEST(Gelu, EqualsTheReference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{13, 29}, Shape{40, 1536}, Shape{0, 4}}) {
    testing::check("gelu f32 " + to_string(shape), {.nmse = 1e-13, .worst = 1e-6}, [&](auto& ctx, auto& c) {
      const Tensor x = c.input(Dtype::f32, shape, {.scale = 3});
      gelu(ctx, {.x = x, .out = c.output(Dtype::f32, shape)});
    });
    testing::check("gelu bf16 " + to_string(shape), testing::bf16_tolerance(), [&](auto& ctx, auto& c) {
      const Tensor x = c.input(Dtype::bf16, shape);
      gelu(ctx, {.x = x, .out = c.output(Dtype::bf16, shape)});
    });
  }
}

}  // namespace
}  // namespace offbook::ops
