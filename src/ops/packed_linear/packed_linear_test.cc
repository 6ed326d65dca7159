#include "src/ops/packed_linear/packed_linear.h"

#include <cmath>

#include "src/ops/linear/linear.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using testing::Case;
using testing::check;

constexpr Dtype kTypes[] = {Dtype::q8_0, Dtype::q4_0, Dtype::q4_1, Dtype::q5_0,
                            Dtype::q5_1, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k,
                            Dtype::f32,  Dtype::bf16, Dtype::f16};

// As for `linear` with int8 activations; SwiGLU multiplies two such results. A gate's error counts
// in full where silu falls as e^gate: 1 × q5_k with 16 outputs has negative gates alone (−9.6 and
// below, off by 0.08), and 0.0536 off by 0.0035 is all its signal: NMSE 4.2e-3, though the
// products' is 4e-6. So one row has 112 outputs here, and 16 where activations are exact (below).
constexpr testing::Tolerance kInt8{.nmse = 1e-3, .worst = 3e-2};

struct Sizes {
  int64_t n;
  int64_t out;
  int64_t in;
};

// Two matrices on top of each other with a norm in front and a bias, then a residual sum, then
// SwiGLU, then GELU.
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
  packed_linear(ctx, {.x = x,
                      .matrix = &one,
                      .bias = c.input(Dtype::f32, {s.out}),
                      .end = PackedEnd::gelu,
                      .out = c.output(Dtype::f32, {s.n, s.out})});
}

TEST(PackedLinear, EqualsTheReference) {
  for (const Dtype type : kTypes) {
    const int64_t in = 2 * std::max(dtype_info(type).block_elems, 64);
    for (const Sizes& s : {Sizes{0, 16, in}, Sizes{1, 112, in}, Sizes{5, 48, in}, Sizes{8, 112, in},
                           Sizes{9, 48, in}, Sizes{25, 112, in}, Sizes{200, 48, in}}) {
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
  Tensor product(Backend backend, const PackedMatrix& weight, const Tensor& x,
                 PackedEnd end = PackedEnd::plain) {
    const ExecutionContext ctx{
        .backend = backend, .compute = Compute::bf16, .pool = &pool_, .arena = &arena_};
    const int64_t width = end == PackedEnd::swiglu ? weight.rows / 2 : weight.rows;
    const Tensor out = Tensor::empty(Dtype::f32, {x.dim(0), width});
    packed_linear(ctx, {.x = x, .matrix = &weight, .end = end, .out = out});
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
  for (const Dtype type : kTypes) {
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

// Activations that int8 holds exactly: what is left is the order of f32 sums. So what the other
// test allows is the rounding of activations alone. SwiGLU must be that of the plain products, bit
// for bit the same sums.
TEST_F(PackedLinearOn, WholeStepsOfActivationsAreMultipliedExactly) {
  constexpr int64_t kIn = 512;
  for (const Dtype type : kTypes) {
    if (!is_quantised(type)) {
      continue;
    }
    const Tensor gate = filled(type, {16, kIn});
    const Tensor up = filled(type, {32, kIn}).slice(0, 16, 32);
    const PackedMatrix both = pack_rows(pool_, std::array{gate, up});
    const PackedMatrix gated = pack_alternating(pool_, gate, up);
    const Tensor x = Tensor::empty(Dtype::f32, {8, kIn});
    for (int64_t i = 0; i < x.numel(); ++i) {
      const int64_t step = i % kPanelGroup == 5 ? 127 : (i * 7919 + i / kIn * 31) % 255 - 127;
      x.data<float>()[i] = static_cast<float>(step) / 128;
    }
    const Tensor want = product(Backend::reference, both, x);
    for (const Backend backend : testing::available_backends()) {
      if (backend == Backend::cuda) {
        continue;
      }
      for (const int64_t n : {1, 8}) {
        const Tensor rows = x.slice(0, 0, n);
        const Tensor got = product(backend, both, rows);
        const Tensor inner = product(backend, gated, rows, PackedEnd::swiglu);
        double error = 0;
        double norm = 0;
        double end_error = 0;
        double end_norm = 0;
        for (int64_t r = 0; r < n; ++r) {
          const float* y = got.data<float>() + r * 32;
          for (int64_t o = 0; o < 32; ++o) {
            const double wanted = want.data<float>()[r * 32 + o];
            error += (y[o] - wanted) * (y[o] - wanted);
            norm += wanted * wanted;
          }
          for (int64_t o = 0; o < 16; ++o) {
            const double g = y[o];
            const double wanted = g / (1 + std::exp(-g)) * y[16 + o];
            const double d = inner.data<float>()[r * 16 + o] - wanted;
            end_error += d * d;
            end_norm += wanted * wanted;
          }
        }
        const auto where =
            fmt::format("{} × {} {}", n, dtype_info(type).name, backend::to_string(backend));
        EXPECT_LE(error, 1e-11 * norm) << where << ": NMSE " << error / norm;
        EXPECT_LE(end_error, 1e-11 * end_norm) << where << ": SwiGLU " << end_error / end_norm;
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
