#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

void forward(ExecutionContext& ctx, Case& c, Dtype dtype, const Shape& shape, const Case::Options& options) {
  const Tensor x = c.input(dtype, shape, options);
  const Tensor weight = c.input(Dtype::f32, {shape[-1]});
  rms_norm(ctx, {.x = x, .weight = weight, .eps = 1e-5f, .out = c.output(dtype, shape, options)});
}

TEST(RmsNorm, EqualsTheReference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{40, 576}, Shape{5, 3, 64}, Shape{2, 2048}, Shape{0, 8}}) {
    for (const bool strided : {false, true}) {
      check("rms_norm f32 " + to_string(shape), testing::f32_tolerance(shape[-1]),
            [&](auto& ctx, auto& c) { forward(ctx, c, Dtype::f32, shape, {.strided = strided, .misaligned = strided}); });
      check("rms_norm bf16 " + to_string(shape), testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { forward(ctx, c, Dtype::bf16, shape, {.strided = strided}); });
    }
  }
}

TEST(RmsNorm, BackwardEqualsTheReference) {
  for (const Shape& shape : {Shape{1, 5}, Shape{3, 7}, Shape{40, 576}, Shape{5, 3, 64}}) {
    for (const Write write : {Write::overwrite, Write::accumulate}) {
      const auto body = [&](ExecutionContext& ctx, Case& c, Dtype dtype) {
        const Tensor x = c.input(dtype, shape);
        const Tensor weight = c.input(Dtype::f32, {shape[-1]});
        const Tensor d_out = c.input(dtype, shape);
        rms_norm_backward(ctx, {.x = x,
                                .weight = weight,
                                .d_out = d_out,
                                .d_x = write == Write::overwrite ? c.output(dtype, shape) : c.inout(dtype, shape),
                                .d_weight = c.inout(Dtype::f32, {shape[-1]}),
                                .write = write});
      };
      check("rms_norm_backward f32 " + to_string(shape), testing::f32_tolerance(shape.numel()),
            [&](auto& ctx, auto& c) { body(ctx, c, Dtype::f32); });
      check("rms_norm_backward bf16 " + to_string(shape), testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { body(ctx, c, Dtype::bf16); });
    }
  }
}

TEST(RmsNorm, HandCase) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Tensor x = Tensor::zeros(Dtype::f32, {1, 2});
  Tensor weight = Tensor::zeros(Dtype::f32, {2});
  x.data<float>()[0] = 3;
  x.data<float>()[1] = 4;
  weight.data<float>()[0] = 1;
  weight.data<float>()[1] = 2;
  Tensor out = Tensor::empty(Dtype::f32, {1, 2});
  rms_norm(ctx, {.x = x, .weight = weight, .eps = 1e-9f, .out = out});
  EXPECT_NEAR(out.data<float>()[0], 3 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(out.data<float>()[1], 8 / std::sqrt(12.5), 1e-6);
  EXPECT_THROW(rms_norm(ctx, {.x = x, .weight = weight.slice(0, 0, 1), .out = out}), Error);
  EXPECT_THROW(rms_norm(ctx, {.x = x, .weight = weight, .out = weight}), Error);
}

}  // namespace
}  // namespace offbook::ops
