#include "src/ops/packed_linear/packed_linear.h"

#include "src/ops/linear/linear.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

constexpr Dtype kPlain[] = {Dtype::f32, Dtype::bf16, Dtype::f16};
constexpr Dtype kTypes[] = {Dtype::q8_0, Dtype::q4_0, Dtype::q4_1, Dtype::q5_0,
                            Dtype::q5_1, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};

// As for `linear` with int8 activations; SwiGLU multiplies two such results.
constexpr testing::Tolerance kInt8{.nmse = 1e-3, .worst = 3e-2};

struct Sizes {
  int64_t n;
  int64_t out;
  int64_t in;
};

// Two matrices on top of each other with a norm in front and a bias, then a residual sum, then
// SwiGLU.
void run(ExecutionContext& ctx, Case& c, Dtype type, const Sizes& s) {
  const Tensor x = c.input(Dtype::f32, {s.n, s.in}, {.strided = true});
  const Tensor a = c.input(type, {s.out, s.in}, {.scale = 0.05f, .misaligned = true});
  const Tensor b = c.input(type, {s.out, s.in}, {.scale = 0.05f});
  const PackedMatrix both = pack_rows(*ctx.pool, std::array{a, b});
  const PackedMatrix one = pack_rows(*ctx.pool, std::array{b});
  const PackedMatrix gated = pack_alternating(*ctx.pool, a, b);
  packed_linear(ctx, {.x = x,
                      .norm = c.input(Dtype::f32, {s.in}),
                      .matrix = &both,
                      .bias = c.input(Dtype::f32, {2 * s.out}),
                      .out = c.output(Dtype::f32, {s.n, 2 * s.out}, {.strided = true})});
  packed_linear(ctx, {.x = x,
                      .matrix = &one,
                      .write = Write::accumulate,
                      .out = c.inout(Dtype::f32, {s.n, s.out})});
  packed_linear(ctx, {.x = x,
                      .matrix = &gated,
                      .end = PackedEnd::swiglu,
                      .out = c.output(Dtype::f32, {s.n, s.out}, {.strided = true})});
}

std::vector<Dtype> all_types() {
  std::vector<Dtype> out(std::begin(kTypes), std::end(kTypes));
  out.insert(out.end(), std::begin(kPlain), std::end(kPlain));
  return out;
}

TEST(PackedLinear, EqualsTheReference) {
  for (const Dtype type : all_types()) {
    const int64_t in = 2 * std::max(dtype_info(type).block_elems, 64);
    for (const Sizes& s : {Sizes{0, 16, in}, Sizes{1, 112, in}, Sizes{5, 48, in}, Sizes{8, 112, in},
                           Sizes{9, 48, in}, Sizes{25, 112, in}}) {
      const testing::CheckOptions options{.compute = Compute::bf16, .skip = {Backend::cuda}};
      check(
          fmt::format("packed_linear {} × {} [{}, {}]", s.n, dtype_info(type).name, s.out, s.in),
          s.n <= kFewRows && is_quantised(type) ? kInt8 : testing::bf16_tolerance(),
          [&](auto& ctx, auto& c) { run(ctx, c, type, s); }, options);
    }
  }
}

class PackedLinearOn : public ::testing::Test {
 protected:
  Tensor product(Backend backend, const PackedMatrix& weight, const Tensor& x) {
    const ExecutionContext ctx{
        .backend = backend, .compute = Compute::bf16, .pool = &pool_, .arena = &arena_};
    const Tensor out = Tensor::empty(Dtype::f32, {x.dim(0), weight.rows});
    packed_linear(ctx, {.x = x, .matrix = &weight, .out = out});
    return out;
  }
  // Made by the harness's generator, kept for this test.
  Tensor filled(Dtype dtype, const Shape& shape) {
    ExecutionContext ctx{.backend = Backend::reference, .pool = &pool_, .arena = &arena_};
    Case c(ctx, 3);
    const Tensor made = c.input(dtype, shape);
    Tensor out = Tensor::empty(dtype, shape);
    std::memcpy(out.raw(), made.raw(), static_cast<size_t>(out.bytes()));
    return out;
  }

  backend::ThreadPool pool_{2};
  backend::Arena arena_;
};

TEST_F(PackedLinearOn, ARowHasTheSameBitsAloneAndInABatchAndOnEveryInstructionSet) {
  for (const Dtype type : all_types()) {
    const PackedMatrix weight = pack_rows(pool_, std::array{filled(type, {64, 512})});
    const Tensor x = filled(Dtype::f32, {8, 512});
    std::vector<float> first;
    for (const Backend backend : testing::available_backends()) {
      if (backend == Backend::cuda) {
        continue;
      }
      for (int64_t n = 1; n <= 8; ++n) {
        const Tensor out = product(backend, weight, x.slice(0, 0, n));
        const std::vector<float> row(out.data<float>(), out.data<float>() + 64);
        first = first.empty() ? row : first;
        EXPECT_TRUE(row == first) << dtype_info(type).name << " n " << n << " "
                                  << backend::to_string(backend);
      }
      if (!is_quantised(type)) {  // bf16 factors on AVX-512, floats on AVX2
        first.clear();
      }
    }
  }
}

TEST(PackedMatrix, TakesWholePanelsOnly) {
  EXPECT_TRUE(is_packable(
      std::array{Tensor::zeros(Dtype::q4_1, {32, 64}), Tensor::zeros(Dtype::q8_0, {16, 64})}));
  EXPECT_FALSE(is_packable(std::array{Tensor::zeros(Dtype::q4_1, {8, 64})}));
  EXPECT_TRUE(is_packable(std::array{Tensor::zeros(Dtype::bf16, {16, 64})}));
  EXPECT_FALSE(is_packable(std::array{Tensor::zeros(Dtype::i32, {16, 64})}));
  EXPECT_FALSE(is_packable(
      std::array{Tensor::zeros(Dtype::q4_1, {16, 64}), Tensor::zeros(Dtype::q4_1, {16, 32})}));
}

TEST_F(PackedLinearOn, ChecksItsArguments) {
  const PackedMatrix weight = pack_rows(pool_, std::array{filled(Dtype::q4_1, {32, 64})});
  const ExecutionContext ctx{
      .backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  const auto f32 = [](const Shape& shape) { return Tensor::zeros(Dtype::f32, shape); };
  EXPECT_THROW(packed_linear(ctx, {.x = f32({2, 64}), .out = f32({2, 32})}), Error);
  EXPECT_THROW(packed_linear(ctx, {.x = f32({2, 32}), .matrix = &weight, .out = f32({2, 32})}),
               Error);
  EXPECT_THROW(packed_linear(ctx, {.x = f32({2, 64}), .matrix = &weight, .out = f32({2, 16})}),
               Error);
  EXPECT_THROW(
      packed_linear(ctx,
                    {.x = f32({2, 64}), .norm = f32({32}), .matrix = &weight, .out = f32({2, 32})}),
      Error);
  EXPECT_THROW(
      packed_linear(
          ctx,
          {.x = f32({2, 64}), .matrix = &weight, .end = PackedEnd::swiglu, .out = f32({2, 32})}),
      Error);
}

}  // namespace
}  // namespace offbook::ops
