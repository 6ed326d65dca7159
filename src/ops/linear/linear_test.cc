#include "src/ops/linear/linear.h"

#include "src/ops/testing/device.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;
using testing::Tolerance;

constexpr Dtype kWeights[] = {Dtype::f32,  Dtype::bf16, Dtype::f16,  Dtype::q8_0,
                              Dtype::q4_0, Dtype::q4_1, Dtype::q5_0, Dtype::q5_1,
                              Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};

// Activations rounded to 1/127 of the largest of 32: expected near 3e-5 on normal ones with many
// outputs, seen up to 1.8e-4 where five outputs happen to be small.
constexpr Tolerance kInt8{.nmse = 5e-4, .worst = 3e-2};

struct Sizes {
  int64_t n;
  int64_t out;
  int64_t in;
};

std::string name(const Sizes& s, Dtype weight) {
  return fmt::format("linear {} × {} [{}, {}]", s.n, dtype_info(weight).name, s.out, s.in);
}

// All options at once: strided rows, alpha, and a bias or an accumulating write.
void run(ExecutionContext& ctx, Case& c, Dtype activation, Dtype weight_type, const Sizes& s) {
  const Tensor x = c.input(activation, {s.n, s.in}, {.strided = true});
  const Tensor weight = c.input(weight_type, {s.out, s.in}, {.scale = 0.05f, .misaligned = true});
  const Tensor bias = c.input(Dtype::f32, {s.out});
  linear(ctx,
         {.x = x, .weight = weight, .out = c.output(activation, {s.n, s.out}, {.strided = true})});
  linear(ctx, {.x = x,
               .weight = weight,
               .bias = bias,
               .alpha = 0.5f,
               .out = c.output(activation, {s.n, s.out})});
  linear(ctx, {.x = x,
               .weight = weight,
               .bias = bias,
               .write = Write::accumulate,
               .out = c.inout(activation, {s.n, s.out})});
  linear(ctx, {.x = x,
               .weight = weight,
               .bias = bias,
               .addend = c.input(activation, {s.n, s.out}, {.strided = true}),
               .out = c.output(activation, {s.n, s.out})});
  linear(ctx, {.x = x,
               .weight = weight,
               .alpha = 2,
               .write = Write::accumulate,
               .out = c.inout(Dtype::f32, {s.n, s.out})});
}

TEST(Linear, FloatProductsEqualTheReference) {
  for (const Dtype weight : kWeights) {
    const int64_t in = 2 * std::max(dtype_info(weight).block_elems, 32);
    for (const Sizes& s : {Sizes{1, 5, in}, Sizes{7, 37, in}, Sizes{8, 130, in}, Sizes{9, 33, in},
                           Sizes{50, 130, in}}) {
      check(name(s, weight) + " f32", testing::f32_tolerance(in),
            [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, weight, s); });
    }
  }
  for (const Sizes& s : {Sizes{0, 3, 5}, Sizes{3, 0, 5}, Sizes{1, 1, 1}, Sizes{5, 3, 37},
                         Sizes{70, 100, 39}, Sizes{520, 97, 33}}) {
    for (const Dtype weight : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
      check(name(s, weight) + " f32", testing::f32_tolerance(s.in),
            [&](auto& ctx, auto& c) { run(ctx, c, Dtype::f32, weight, s); });
    }
  }
}

TEST(Linear, Bf16FactorsEqualTheReference) {
  for (const Dtype weight : kWeights) {
    const bool quantised = is_quantised(weight);
    const int64_t in = 2 * std::max(dtype_info(weight).block_elems, 64);
    for (const Dtype activation : {Dtype::f32, Dtype::bf16}) {
      for (const Sizes& s : {Sizes{1, 5, in}, Sizes{4, 64, in}, Sizes{8, 37, in}, Sizes{9, 100, in},
                             Sizes{40, 130, in}}) {
        const testing::CheckOptions options{.compute = Compute::bf16};
        check(
            name(s, weight) + " bf16", quantised && s.n <= 8 ? kInt8 : testing::bf16_tolerance(),
            [&](auto& ctx, auto& c) { run(ctx, c, activation, weight, s); }, options);
      }
    }
  }
}

void run_backward_input(ExecutionContext& ctx, Case& c, Dtype activation, Dtype weight_type,
                        const Sizes& s) {
  const Tensor d_out = c.input(activation, {s.n, s.out}, {.strided = true});
  const Tensor weight = c.input(weight_type, {s.out, s.in}, {.scale = 0.05f});
  linear_backward_input(ctx, {.d_out = d_out,
                              .weight = weight,
                              .d_x = c.output(activation, {s.n, s.in}, {.strided = true})});
  linear_backward_input(ctx, {.d_out = d_out,
                              .weight = weight,
                              .alpha = 0.5f,
                              .write = Write::accumulate,
                              .d_x = c.inout(activation, {s.n, s.in})});
}

void run_backward_weight(ExecutionContext& ctx, Case& c, Dtype activation, const Sizes& s) {
  const Tensor x = c.input(activation, {s.n, s.in}, {.strided = true});
  const Tensor d_out = c.input(activation, {s.n, s.out}, {.strided = true});
  linear_backward_weight(ctx, {.x = x,
                               .d_out = d_out,
                               .alpha = 2,
                               .d_weight = c.inout(Dtype::f32, {s.out, s.in}),
                               .d_bias = c.inout(Dtype::f32, {s.out})});
  linear_backward_weight(ctx,
                         {.x = x, .d_out = d_out, .d_weight = c.inout(Dtype::f32, {s.out, s.in})});
}

TEST(Linear, BackwardInputEqualsTheReference) {
  for (const Dtype weight : kWeights) {
    const int64_t in =
        is_quantised(weight) ? 2 * std::max(dtype_info(weight).block_elems, 64) : 131;
    for (const Sizes& s : {Sizes{1, 5, in}, Sizes{20, 37, in}, Sizes{5, 1100, in}}) {
      check(name(s, weight) + " backward input f32", testing::f32_tolerance(s.out),
            [&](auto& ctx, auto& c) { run_backward_input(ctx, c, Dtype::f32, weight, s); });
      const testing::CheckOptions options{.compute = Compute::bf16};
      check(
          name(s, weight) + " backward input bf16", testing::bf16_tolerance(),
          [&](auto& ctx, auto& c) { run_backward_input(ctx, c, Dtype::bf16, weight, s); }, options);
    }
  }
}

TEST(Linear, BackwardWeightEqualsTheReference) {
  for (const Sizes& s : {Sizes{0, 4, 3}, Sizes{1, 1, 1}, Sizes{33, 16, 150}, Sizes{100, 140, 70}}) {
    check(name(s, Dtype::f32) + " backward weight f32", testing::f32_tolerance(s.n),
          [&](auto& ctx, auto& c) { run_backward_weight(ctx, c, Dtype::f32, s); });
    const testing::CheckOptions options{.compute = Compute::bf16};
    check(
        name(s, Dtype::f32) + " backward weight bf16", testing::bf16_tolerance(),
        [&](auto& ctx, auto& c) { run_backward_weight(ctx, c, Dtype::bf16, s); }, options);
  }
}

// Rows 0…n-1 of the same x, as bits.
std::vector<double> first_rows(Backend backend, Compute compute, Dtype weight_type, int64_t n) {
  backend::ThreadPool pool(2);
  testing::DeviceScope device(backend);
  backend::Arena arena(device.allocator());
  ExecutionContext ctx{.backend = backend,
                       .compute = compute,
                       .pool = &pool,
                       .arena = &arena,
                       .cuda = device.cuda()};
  Case c(ctx, 7);
  const Tensor weight = c.input(weight_type, {45, 512}, {.scale = 0.05f});
  const Tensor x = c.input(Dtype::f32, {8, 512});
  linear(ctx, {.x = x.slice(0, 0, n), .weight = weight, .out = c.output(Dtype::f32, {n, 45})});
  return c.collect()[0];
}

TEST(Linear, ARowHasTheSameBitsInEveryBatch) {
  for (const Backend backend : testing::available_backends()) {
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      for (const Dtype weight : kWeights) {
        const std::vector<double> eight = first_rows(backend, compute, weight, 8);
        for (int64_t n = 1; n < 8; ++n) {
          const std::vector<double> some = first_rows(backend, compute, weight, n);
          EXPECT_TRUE(std::equal(some.begin(), some.end(), eight.begin()))
              << dtype_info(weight).name << ", " << n << " rows, " << backend::to_string(backend);
        }
      }
    }
  }
}

TEST(Linear, AllocatesNothingTheSecondTime) {
  for (const Backend backend : testing::available_backends()) {
    backend::ThreadPool pool(2);
    testing::DeviceScope device(backend);
    backend::Arena arena(device.allocator());
    ExecutionContext ctx{.backend = backend,
                         .compute = Compute::bf16,
                         .pool = &pool,
                         .arena = &arena,
                         .cuda = device.cuda()};
    Case c(ctx, 7);
    const Tensor weight = c.input(Dtype::q4_1, {45, 512});
    const Tensor x = c.input(Dtype::f32, {30, 512});
    const Tensor out = c.output(Dtype::f32, {30, 45});
    linear(ctx, {.x = x, .weight = weight, .out = out});
    const size_t blocks = arena.blocks_allocated();
    const size_t peak = arena.peak_bytes();
    linear(ctx, {.x = x, .weight = weight, .out = out});
    EXPECT_EQ(arena.blocks_allocated(), blocks);
    EXPECT_EQ(arena.peak_bytes(), peak);
    EXPECT_EQ(arena.mark().used, 0u);
  }
}

TEST(Linear, RefusesWrongShapesAndTypes) {
  backend::ThreadPool pool(1);
  backend::Arena arena;
  const ExecutionContext ctx{.pool = &pool, .arena = &arena};
  const auto f32 = [](const Shape& shape) { return Tensor::zeros(Dtype::f32, shape); };
  const Tensor x = f32({2, 8});
  const Tensor weight = f32({3, 8});
  EXPECT_THROW(linear(ctx, {.x = x, .weight = f32({3, 7}), .out = f32({2, 3})}), Error);
  EXPECT_THROW(linear(ctx, {.x = x, .weight = weight, .out = f32({2, 4})}), Error);
  EXPECT_THROW(linear(ctx, {.x = x, .weight = weight, .out = f32({3, 3})}), Error);
  EXPECT_THROW(linear(ctx, {.x = x, .weight = weight, .bias = f32({2}), .out = f32({2, 3})}),
               Error);
  EXPECT_THROW(
      linear(ctx, {.x = x, .weight = Tensor::zeros(Dtype::i32, {3, 8}), .out = f32({2, 3})}),
      Error);
  EXPECT_THROW(linear(ctx, {.x = x, .weight = weight, .addend = f32({2, 4}), .out = f32({2, 3})}),
               Error);
  EXPECT_THROW(linear(ctx, {.x = x,
                            .weight = weight,
                            .write = Write::accumulate,
                            .addend = f32({2, 3}),
                            .out = f32({2, 3})}),
               Error);
  EXPECT_THROW(linear(ctx, {.x = Tensor(), .weight = weight, .out = f32({2, 3})}), Error);
  EXPECT_THROW(linear(ctx, {.x = x, .weight = weight, .out = Tensor::zeros(Dtype::f16, {2, 3})}),
               Error);
  EXPECT_THROW(
      linear_backward_input(ctx, {.d_out = f32({2, 3}), .weight = weight, .d_x = f32({2, 7})}),
      Error);
  EXPECT_THROW(linear_backward_input(ctx, {.d_out = f32({2, 4}), .weight = weight, .d_x = x}),
               Error);
  EXPECT_THROW(linear_backward_weight(ctx, {.x = x, .d_out = f32({3, 3}), .d_weight = weight}),
               Error);
  EXPECT_THROW(linear_backward_weight(ctx, {.x = x, .d_out = f32({2, 3}), .d_weight = f32({8, 3})}),
               Error);
  EXPECT_THROW(
      linear_backward_weight(
          ctx, {.x = x, .d_out = f32({2, 3}), .d_weight = Tensor::zeros(Dtype::bf16, {3, 8})}),
      Error);
}

}  // namespace
}  // namespace offbook::ops
