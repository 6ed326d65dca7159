#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

const Shape kShapes[] = {{1}, {7}, {0, 4}, {3, 5}, {130, 576}, {4, 3, 64}};

TEST(Elementwise, Add) {
  for (const Shape& shape : kShapes) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      const Case::Options strided{.strided = shape.rank() > 1};
      check("add " + to_string(shape), dtype == Dtype::f32 ? testing::f32_tolerance(1) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) {
              const Tensor a = c.input(dtype, shape, strided);
              const Tensor b = c.input(dtype, shape);
              add(ctx, {.a = a, .b = b, .out = c.output(dtype, shape, strided)});
            });
    }
  }
}

TEST(Elementwise, CopyConvertsScalesAndAccumulates) {
  for (const Shape& shape : kShapes) {
    for (const Dtype from : {Dtype::f32, Dtype::bf16}) {
      for (const Dtype to : {Dtype::f32, Dtype::bf16}) {
        check("copy " + to_string(shape), to == Dtype::f32 ? testing::f32_tolerance(1) : testing::bf16_tolerance(),
              [&](auto& ctx, auto& c) {
                const Tensor x = c.input(from, shape, {.strided = shape.rank() > 1});
                copy(ctx, {.x = x, .out = c.output(to, shape)});
                copy(ctx, {.x = x, .alpha = -0.5f, .write = Write::accumulate, .out = c.inout(to, shape)});
              });
      }
    }
  }
  check("copy i32", {}, [&](auto& ctx, auto& c) {
    const Tensor x = c.ints({5, -1, 7});
    copy(ctx, {.x = x, .out = c.output(Dtype::i32, {3})});
  });
}

TEST(Elementwise, Fill) {
  for (const Shape& shape : kShapes) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::i32}) {
      check("fill " + to_string(shape), {.nmse = 0, .worst = 0}, [&](auto& ctx, auto& c) {
        fill(ctx, {.value = -3, .out = c.output(dtype, shape, {.strided = shape.rank() > 1})});
      });
    }
  }
}

TEST(Elementwise, AffineRowsAndItsGradient) {
  for (const Shape& shape : {Shape{1, 3}, Shape{50, 576}, Shape{0, 8}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      check("affine_rows " + to_string(shape),
            dtype == Dtype::f32 ? testing::f32_tolerance(shape.numel()) : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) {
              const Tensor x = c.input(dtype, shape);
              const Tensor scale = c.input(Dtype::f32, {1});
              const Tensor row = c.input(Dtype::f32, {shape[1]});
              affine_rows(ctx, {.x = x, .scale = scale, .row = row, .out = c.output(dtype, shape)});
              const Tensor d_out = c.input(dtype, shape);
              affine_rows_backward(ctx, {.x = x,
                                         .scale = scale,
                                         .d_out = d_out,
                                         .d_x = c.inout(dtype, shape),
                                         .d_scale = c.inout(Dtype::f32, {1}),
                                         .d_row = c.inout(Dtype::f32, {shape[1]})});
            });
    }
  }
}

TEST(Elementwise, ShapesAreChecked) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  const Tensor a = Tensor::zeros(Dtype::f32, {2, 3});
  const Tensor b = Tensor::zeros(Dtype::f32, {3, 2});
  EXPECT_THROW(add(ctx, {.a = a, .b = b, .out = a}), Error);
  EXPECT_THROW(copy(ctx, {.x = a, .out = Tensor::zeros(Dtype::i32, {2, 3})}), Error);
}

}  // namespace
}  // namespace offbook::ops
