// Matrix products with quantised weights that were laid out for this CPU, and what stands around
// them in a decoder layer: the norm before, SwiGLU, GELU or the residual sum behind.
#pragma once
#include "src/ops/op.h"
#include "src/ops/packed_linear/packed_matrix.h"

namespace offbook::ops {

// Rows up to which a product reads weights as they are and quantises activations.
inline constexpr int64_t kFewRows = 8;

// What becomes of the products.
enum class PackedEnd : uint8_t {
  plain,
  swiglu,  // the matrix alternates 16 rows of gate and 16 of up: silu(gate) · up overwrites out
  gelu,    // x · Φ(x) of the products with their bias overwrites out
};

struct PackedLinearArgs {
  Tensor x;           // f32 [n, in]; rows may be strided
  Tensor norm;        // f32 [in]: x is RMS-normalised with it first; or undefined
  float eps = 1e-5f;  // of the norm
  const PackedMatrix* matrix = nullptr;
  Tensor bias;  // f32 [out], or undefined; not with swiglu
  PackedEnd end = PackedEnd::plain;
  Write write = Write::overwrite;
  Tensor out;  // f32 [n, out], with swiglu [n, out / 2]; rows may be strided
};
// out (+)= end(norm(x) matrixᵀ + bias). For n ≤ kFewRows activations are quantised to int8 per 32
// values, every weight is read once, and a row's result has the same bits for n = 1…8; for more
// rows both factors are rounded to bf16 (on AVX2 they stay f32). Sums are f32, in an order that
// does not depend on threads or on other rows. Not differentiable. CPU only.
void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& args);

// Not in the registry: its operands exist on a CPU alone.
namespace ref {
void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& args);
}
namespace avx2 {
void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& args);
}
namespace avx512 {
void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& args);
}

}  // namespace offbook::ops
