// One-thread matrix product for the instruction set of a backend. AVX-512: many rows of bf16 by our
// own kernel where the CPU is quick at it (pairs_cpu.h), the rest by oneDNN where it is built in.
// Else our own blocked kernel (always for AVX2, and for f32 factors with a bf16 result).
#pragma once
#include "src/backend/cpu/gemm.h"

namespace offbook::ops {

namespace avx2 {
void gemm(const backend::GemmArgs& args);
void gemm_blocked(const backend::GemmArgs& args) noexcept;
}  // namespace avx2
namespace avx512 {
void gemm(const backend::GemmArgs& args);
void gemm_blocked(const backend::GemmArgs& args) noexcept;
}  // namespace avx512

}  // namespace offbook::ops
