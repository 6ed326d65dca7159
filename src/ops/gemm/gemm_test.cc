#include "src/ops/gemm/gemm.h"

#include "src/backend/cpu/features.h"
#include "src/ops/ref.h"
#include "src/ops/testing/harness.h"

namespace offbook::ops {
namespace {

using backend::GemmArgs;

struct Sizes {
  int64_t m;
  int64_t n;
  int64_t k;
};

Tensor random(Dtype dtype, int64_t rows, int64_t cols, uint64_t seed) {
  Tensor t = Tensor::empty(dtype, {rows, cols});
  for (int64_t i = 0; i < t.numel(); ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    ref::set(t, static_cast<double>(seed >> 40) * 0x1p-23 - 1, i / cols, i % cols);
  }
  return t;
}

// Largest difference from the double sums, relative to sqrt(k).
double error(void (*gemm)(const GemmArgs&), GemmArgs g) {
  const Tensor a =
      g.a_is_transposed ? random(g.in, g.k, g.m + 3, 1) : random(g.in, g.m, g.k + 5, 1);
  const Tensor b =
      g.b_is_transposed ? random(g.in, g.n, g.k + 7, 2) : random(g.in, g.k, g.n + 9, 2);
  const Tensor c = random(g.out, g.m, g.n + 2, 3);
  const Tensor before = random(g.out, g.m, g.n + 2, 3);
  g.a = a.raw();
  g.lda = a.stride(0);
  g.b = b.raw();
  g.ldb = b.stride(0);
  g.c = c.raw();
  g.ldc = c.stride(0);
  gemm(g);
  double worst = 0;
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < g.k; ++k) {
        sum += (g.a_is_transposed ? ref::get(a, k, i) : ref::get(a, i, k)) *
               (g.b_is_transposed ? ref::get(b, j, k) : ref::get(b, k, j));
      }
      const double want = g.alpha * sum + (g.is_accumulated ? ref::get(before, i, j) : 0.0);
      worst = std::max(worst, std::abs(ref::get(c, i, j) - want));
    }
    EXPECT_EQ(ref::get(c, i, g.n), ref::get(before, i, g.n)) << "wrote past row " << i;
  }
  return worst / std::sqrt(static_cast<double>(g.k));
}

void check_all(const std::string& name, void (*gemm)(const GemmArgs&)) {
  for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{13, 33, 19}, Sizes{100, 70, 261}, Sizes{61, 119, 40},
                         Sizes{50, 96, 1600}, Sizes{48, 200, 64}}) {
    for (int flags = 0; flags < 32; ++flags) {
      const GemmArgs g{.m = s.m,
                       .n = s.n,
                       .k = s.k,
                       .in = (flags & 1) != 0 ? Dtype::bf16 : Dtype::f32,
                       .out = (flags & 2) != 0 ? Dtype::bf16 : Dtype::f32,
                       .a_is_transposed = (flags & 4) != 0,
                       .b_is_transposed = (flags & 8) != 0,
                       .alpha = (flags & 16) != 0 ? -0.75f : 1.0f,
                       .is_accumulated = (flags & 16) != 0};
      EXPECT_LE(error(gemm, g), g.out == Dtype::f32 ? 1e-6 : 6e-3)
          << name << ' ' << s.m << ' ' << s.n << ' ' << s.k << ", flags " << flags;
    }
  }
}

TEST(Gemm, Avx2EqualsDoubleSums) {
  check_all("avx2", avx2::gemm);
}

TEST(Gemm, Avx512EqualsDoubleSums) {
  if (!backend::detect_cpu_features().avx512) {
    GTEST_SKIP() << "this CPU has no AVX-512";
  }
  check_all("avx512", avx512::gemm);
  check_all("avx512 blocked", [](const GemmArgs& g) { avx512::gemm_blocked(g); });
}

TEST(Gemm, EmptyProductsWriteNothing) {
  const GemmArgs empty{.m = 0, .n = 4, .k = 4, .lda = 4, .ldb = 4, .ldc = 4};
  avx2::gemm(empty);
  if (backend::has_onednn()) {
    backend::onednn_gemm(empty);
  }
}

}  // namespace
}  // namespace offbook::ops
