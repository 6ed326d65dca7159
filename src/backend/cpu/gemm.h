// Matrix products by oneDNN, on one thread: callers split the work among pool threads.
#pragma once
#include <cstdint>

#include "src/tensor/dtype.h"

namespace offbook::backend {

// c[m, n] (+)= alpha · op(a) op(b); op(a) is [m, k], op(b) is [k, n]; sums are f32. Rows of the
// stored matrices are lda, ldb and ldc elements apart; a is stored [k, m] if a_is_transposed, b as
// [n, k] (a weight's layout) if b_is_transposed. All pointers are to disjoint memory but a and b.
struct GemmArgs {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  Dtype in = Dtype::f32;   // of a and b: f32 or bf16
  Dtype out = Dtype::f32;  // of c: f32, or bf16 if `in` is
  const void* a = nullptr;
  int64_t lda = 0;
  bool a_is_transposed = false;
  const void* b = nullptr;
  int64_t ldb = 0;
  bool b_is_transposed = false;
  void* c = nullptr;
  int64_t ldc = 0;
  float alpha = 1.0f;
  bool is_accumulated = false;

  bool operator==(const GemmArgs&) const = default;
};

// Whether this build has oneDNN.
bool has_onednn() noexcept;

// Runs on the calling thread only, and sets that thread's OpenMP team to one. Primitives are kept
// for each thread and shape: the first call of a shape costs 0.2–0.5 ms and allocates, later ones
// do not. The result depends on the arguments only. On a Xeon with AMX one thread gives 1.0–1.4
// TFLOP/s for bf16 [512, 576] × [576, 128] and 0.17 for f32. Throws Unsupported without oneDNN, and
// when it has no bf16 on this CPU (AVX2).
void onednn_gemm(const GemmArgs& args);

}  // namespace offbook::backend
