#include <cmath>

#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

Tensor table_of(ExecutionContext& ctx, Case& c, const std::vector<int32_t>& positions, int half) {
  std::vector<float> inv_freq;
  for (int i = 0; i < half; ++i) {
    inv_freq.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / half)));
  }
  const auto n = static_cast<int64_t>(positions.size());
  const Tensor out = c.output(Dtype::f32, {n, 2 * half});
  rope_table(ctx, {.positions = c.ints(positions), .inv_freq = c.floats(inv_freq), .out = out});
  return out;
}

void rotate(ExecutionContext& ctx, Case& c, Dtype dtype, const Shape& shape, RopeArgs args) {
  args.x = c.input(dtype, shape, {.strided = true, .misaligned = true});
  args.table = c.input(Dtype::f32, {shape[0], shape[2]});
  args.out = args.write == Write::accumulate ? c.inout(dtype, shape) : c.output(dtype, shape);
  rope(ctx, args);
}

TEST(Rope, TableEqualsTheReferenceAtFarPositions) {
  for (const int half : {1, 5, 32, 64}) {
    check("rope_table", {.nmse = 1e-14, .worst = 1e-6}, [&](auto& ctx, auto& c) {
      table_of(ctx, c, {0, 1, 2, 3, 77, 2047, 131071, 8}, half);
    });
  }
}

TEST(Rope, EqualsTheReference) {
  for (const Shape& shape :
       {Shape{1, 1, 2}, Shape{3, 2, 10}, Shape{40, 9, 64}, Shape{5, 3, 80}, Shape{0, 3, 64}}) {
    for (const Rotation rotation : {Rotation::forward, Rotation::inverse}) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        const RopeArgs args{.rotation = rotation, .write = write};
        check("rope f32 " + to_string(shape), testing::f32_tolerance(2),
              [&](auto& ctx, auto& c) { rotate(ctx, c, Dtype::f32, shape, args); });
        check("rope bf16 " + to_string(shape), testing::bf16_tolerance(),
              [&](auto& ctx, auto& c) { rotate(ctx, c, Dtype::bf16, shape, args); });
      }
    }
  }
}

TEST(Rope, InPlaceAndBackIsTheInput) {
  backend::ThreadPool pool(2);
  for (const Backend backend : testing::available_backends()) {
    if (backend == Backend::cuda) {
      continue;  // host tensors; the harness cases above run there
    }
    backend::Arena arena;
    ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    Case c(ctx, 5);
    const Tensor table = table_of(ctx, c, {0, 5, 900}, 16);
    const Tensor x = c.inout(Dtype::f32, {3, 4, 32});
    const std::vector<float> before(x.data<float>(), x.data<float>() + x.numel());
    rope(ctx, {.x = x, .table = table, .out = x});
    EXPECT_NE(before[32 * 4], x.data<float>()[32 * 4]);
    rope(ctx, {.x = x, .table = table, .rotation = Rotation::inverse, .out = x});
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_NEAR(before[i], x.data<float>()[i], 1e-5);
    }
  }
}

TEST(Rope, HandCase) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  ExecutionContext ctx{.pool = &pool, .arena = &arena};
  Tensor x = Tensor::zeros(Dtype::f32, {1, 1, 2});
  x.data<float>()[0] = 3;
  x.data<float>()[1] = 4;
  Tensor table = Tensor::zeros(Dtype::f32, {1, 2});
  table.data<float>()[1] = 1;  // a quarter turn
  rope(ctx, {.x = x, .table = table, .out = x});
  EXPECT_EQ(x.data<float>()[0], -4);
  EXPECT_EQ(x.data<float>()[1], 3);
  EXPECT_THROW(rope(ctx, {.x = x, .table = table.slice(1, 0, 1), .out = x}), Error);
  EXPECT_THROW(rope(ctx, {.x = x, .table = table, .out = table}), Error);
  EXPECT_THROW(rope_table(ctx, {.positions = table, .inv_freq = table, .out = table}), Error);
}

}  // namespace
}  // namespace offbook::ops
