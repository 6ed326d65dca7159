#include <algorithm>

#include "src/backend/cpu/features.h"
#include "src/ops/dispatch.h"
#include "src/ops/gemm/gemm.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/gemm/pairs_cpu.h"
#include "src/ops/simd.h"
#include "src/ops/transpose_cpu.h"

// Goto's scheme (ACM TOMS 34(3), 2008): blocks of both factors are copied as f32 into panels that
// the inner kernel reads in order; the product of two panels stays in registers.
namespace offbook::ops::OB_ISA {
namespace {

using backend::GemmArgs;

// Registers: kMr · 2 sums, 2 of b, 1 of a; 16 (AVX2) or 32.
#if defined(OB_ISA_AVX512)
constexpr int kMr = 12;
#else
constexpr int kMr = 6;
#endif
constexpr int kNr = 2 * Vec::kLanes;
constexpr int kMc = 96;   // a block of a: 96 kB of L2
constexpr int kKc = 256;  // a panel of b: 16 or 32 kB of L1
constexpr int kNc = 64;

struct Blocks {
  alignas(64) float a[kMc * kKc];
  alignas(64) float b[kNc * kKc];
  alignas(64) float c[kMc * kNc];
};

// A matrix seen as [lines, k]: element (i, k) at i · line_step + k · k_step, one of which is 1.
template <typename T>
struct Source {
  const T* base;
  int64_t line_step;
  int64_t k_step;
};

// Lines [begin, begin + count) × [k0, k0 + depth) as panels of `width` lines, k-major, zeros at the
// end.
template <int kWidth, typename T>
void pack(const Source<T>& s, int64_t begin, int64_t count, int64_t k0, int64_t depth, float* to) {
  for (int64_t panel = 0; panel < count; panel += kWidth, to += depth * kWidth) {
    const int64_t lines = std::min<int64_t>(kWidth, count - panel);
    if (lines < kWidth) {
      std::fill(to, to + depth * kWidth, 0.0f);
    }
    const T* from = s.base + (begin + panel) * s.line_step + k0 * s.k_step;
    if (s.line_step == 1) {
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t i = 0; i < lines; ++i) {
          to[k * kWidth + i] = plain_float(from[k * s.k_step + i]);
        }
      }
      continue;
    }
    transpose(from, s.line_step, lines, depth, to, kWidth);
  }
}

// c[kMr, kNr] += a panel · b panel.
inline void multiply_panels(const float* a, const float* b, int64_t depth, float* c) {
  Vec sums[kMr][2];
  for (auto& row : sums) {
    row[0] = zero();
    row[1] = zero();
  }
  for (int64_t k = 0; k < depth; ++k, a += kMr, b += kNr) {
    const Vec b0 = load(b);
    const Vec b1 = load(b + Vec::kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kMr; ++i) {
      const Vec x = splat(a[i]);
      sums[i][0] = fma(x, b0, sums[i][0]);
      sums[i][1] = fma(x, b1, sums[i][1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kMr; ++i) {
    float* at = c + i * kNc;
    store(at, load(at) + sums[i][0]);
    store(at + Vec::kLanes, load(at + Vec::kLanes) + sums[i][1]);
  }
}

template <typename O>
void write_block(const GemmArgs& g, const float* block, int64_t i0, int64_t rows, int64_t j0,
                 int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) {
    O* to = static_cast<O*>(g.c) + (i0 + i) * g.ldc + j0;
    for_lanes(cols, [&](int64_t j, int n) {
      Vec v = load_some(block + i * kNc + j, n) * splat(g.alpha);
      if (g.is_accumulated) {
        v = v + load_some(to + j, n);
      }
      store_some(to + j, v, n);
    });
  }
}

template <typename T, typename O>
void multiply(const GemmArgs& g, Blocks& blocks) {
  const Source<T> a{static_cast<const T*>(g.a), g.a_is_transposed ? 1 : g.lda,
                    g.a_is_transposed ? g.lda : 1};
  const Source<T> b{static_cast<const T*>(g.b), g.b_is_transposed ? g.ldb : 1,
                    g.b_is_transposed ? 1 : g.ldb};
  for (int64_t j0 = 0; j0 < g.n; j0 += kNc) {
    const int64_t cols = std::min<int64_t>(kNc, g.n - j0);
    for (int64_t i0 = 0; i0 < g.m; i0 += kMc) {
      const int64_t rows = std::min<int64_t>(kMc, g.m - i0);
      std::fill(std::begin(blocks.c), std::end(blocks.c), 0.0f);
      for (int64_t k0 = 0; k0 < g.k; k0 += kKc) {
        const int64_t depth = std::min<int64_t>(kKc, g.k - k0);
        pack<kNr>(b, j0, cols, k0, depth, blocks.b);
        pack<kMr>(a, i0, rows, k0, depth, blocks.a);
        for (int64_t j = 0; j < cols; j += kNr) {
          for (int64_t i = 0; i < rows; i += kMr) {
            multiply_panels(blocks.a + i * depth, blocks.b + j * depth, depth,
                            blocks.c + i * kNc + j);
          }
        }
      }
      write_block<O>(g, blocks.c, i0, rows, j0, cols);
    }
  }
}

}  // namespace

void gemm_blocked(const GemmArgs& g) noexcept {
  Blocks blocks;  // 184 kB of the thread's stack
  with_activation_type(g.in, [&](auto* in) {
    with_activation_type(g.out, [&](auto* out) {
      multiply<std::remove_pointer_t<decltype(in)>, std::remove_pointer_t<decltype(out)>>(g,
                                                                                          blocks);
    });
  });
}

void gemm(const GemmArgs& g) {
#if defined(OB_ISA_AVX512)
  if (goes_by_pairs(g)) {
    g.out == Dtype::f32 ? multiply_by_pairs<float>(g) : multiply_by_pairs<Bf16>(g);
    return;
  }
  const bool is_narrowing =
      g.in == Dtype::f32 && g.out == Dtype::bf16;  // which oneDNN does not have
  if (backend::has_onednn() && !is_narrowing) {
    backend::onednn_gemm(g);
    return;
  }
#endif
  gemm_blocked(g);
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
