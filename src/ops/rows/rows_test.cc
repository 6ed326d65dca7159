#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::check;

TEST(Rows, GatherAndScatter) {
  for (const Shape& rest : {Shape{5}, Shape{576}, Shape{3, 64}}) {
    const auto with_rows = [&](int64_t n) {
      std::vector<int64_t> dims{n};
      dims.insert(dims.end(), rest.dims().begin(), rest.dims().end());
      return Shape(dims);
    };
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      const auto tolerance =
          dtype == Dtype::f32 ? testing::f32_tolerance(40) : testing::bf16_tolerance();
      check("gather_rows " + to_string(rest), tolerance, [&](auto& ctx, auto& c) {
        const Tensor x = c.input(dtype, with_rows(9), {.strided = rest.rank() == 1});
        const Tensor index = c.ints({8, 0, 0, 3});
        gather_rows(ctx, {.x = x, .index = index, .out = c.output(dtype, with_rows(4))});
        gather_rows(ctx, {.x = x,
                          .index = index,
                          .write = Write::accumulate,
                          .out = c.inout(Dtype::f32, with_rows(4))});
      });
      check("scatter_rows " + to_string(rest), tolerance, [&](auto& ctx, auto& c) {
        const Tensor x = c.input(dtype, with_rows(4));
        scatter_rows(ctx,
                     {.x = x, .index = c.ints({8, 0, 5, 3}), .out = c.inout(dtype, with_rows(9))});
        scatter_rows(ctx, {.x = x,
                           .index = c.ints({7, 0, 5, 3}),
                           .write = Write::accumulate,
                           .is_distinct = true,
                           .out = c.inout(Dtype::f32, with_rows(9))});
        scatter_rows(ctx, {.x = x,
                           .index = c.ints({8, 0, 0, 0}),
                           .write = Write::accumulate,
                           .out = c.inout(Dtype::f32, with_rows(9))});
        // Rows named once, a few times and many times, apart from one another; some in gaps of
        // more than a block looks through at once.
        for (const int32_t places : {90, 1500}) {
          std::vector<int32_t> index;
          for (int32_t i = 0; i < places; ++i) {
            index.push_back(i % 3 == 0 && i % 700 < 60 ? 2 : i % 30);
          }
          scatter_rows(ctx, {.x = c.input(dtype, with_rows(places)),
                             .index = c.ints(index),
                             .write = Write::accumulate,
                             .out = c.inout(Dtype::f32, with_rows(40))});
        }
      });
    }
  }
}

TEST(Rows, SegmentMeanAndItsGradient) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const auto tolerance =
        dtype == Dtype::f32 ? testing::f32_tolerance(16) : testing::bf16_tolerance();
    for (const bool normalise : {false, true}) {
      check("segment_mean", tolerance, [&](auto& ctx, auto& c) {
        const Tensor x = c.input(dtype, {20, 77});
        const Tensor offsets = c.ints({0, 3, 3, 4, 20});
        segment_mean(ctx, {.x = x,
                           .offsets = offsets,
                           .l2_normalise = normalise,
                           .out = c.output(dtype, {4, 77})});
      });
    }
    check("segment_mean_backward", tolerance, [&](auto& ctx, auto& c) {
      const Tensor d_out = c.input(dtype, {3, 77});
      segment_mean_backward(
          ctx, {.offsets = c.ints({0, 3, 3, 4}), .d_out = d_out, .d_x = c.inout(dtype, {6, 77})});
    });
  }
}

TEST(Rows, IndicesAreChecked) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  const Tensor x = Tensor::zeros(Dtype::f32, {2, 3});
  Tensor index = Tensor::zeros(Dtype::i32, {1});
  index.data<int32_t>()[0] = 2;
  EXPECT_THROW(gather_rows(ctx, {.x = x, .index = index, .out = Tensor::empty(Dtype::f32, {1, 3})}),
               Error);
  index.data<int32_t>()[0] = -1;
  EXPECT_THROW(gather_rows(ctx, {.x = x, .index = index, .out = Tensor::empty(Dtype::f32, {1, 3})}),
               Error);
}

}  // namespace
}  // namespace offbook::ops
