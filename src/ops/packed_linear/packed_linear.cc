#include "src/ops/packed_linear/packed_linear.h"

#include "src/ops/dispatch.h"

namespace offbook::ops {
namespace {

using Implementation = void(const ExecutionContext&, const PackedLinearArgs&);

Implementation* implementation(Backend backend) {
  switch (backend) {
    case Backend::reference:
      return ref::packed_linear;
    case Backend::cpu_avx2:
      return avx2::packed_linear;
    case Backend::cpu_avx512:
      return avx512::packed_linear;
    case Backend::cuda:
      break;
  }
  OB_THROW(Unsupported, "packed_linear has no implementation for {}", backend::to_string(backend));
}

}  // namespace

void packed_linear(const ExecutionContext& ctx, const PackedLinearArgs& a) {
  OB_OP_REQUIRE("packed_linear", a.matrix != nullptr && a.matrix->defined(), "there is no weight");
  const PackedMatrix& w = *a.matrix;
  const auto check = [](const char* name, const Tensor& t, int64_t rows, int64_t cols) {
    OB_OP_REQUIRE("packed_linear",
                  t.defined() && t.rank() == 2 && t.dtype() == Dtype::f32 && t.dim(0) == rows &&
                      t.dim(1) == cols && (cols <= 1 || t.stride(1) == 1),
                  "{} is f32 [{}, {}], not {}", name, rows, cols, to_string(t));
  };
  const auto check_vector = [](const char* name, const Tensor& t, int64_t size) {
    OB_OP_REQUIRE(
        "packed_linear",
        !t.defined() || (t.dtype() == Dtype::f32 && t.is_contiguous() && t.shape() == Shape{size}),
        "{} is f32 [{}], not {}", name, size, to_string(t));
  };
  OB_OP_REQUIRE("packed_linear", a.x.defined() && a.x.rank() == 2, "x is a matrix, not {}",
                to_string(a.x));
  const bool is_gated = a.end == PackedEnd::swiglu;
  OB_OP_REQUIRE("packed_linear",
                !is_gated || (w.parts.size() == 1 && w.rows % (2 * kPanelRows) == 0 &&
                              !a.bias.defined() && a.write == Write::overwrite),
                "SwiGLU takes one alternating matrix without bias, and overwrites");
  OB_OP_REQUIRE("packed_linear", a.end != PackedEnd::gelu || a.write == Write::overwrite,
                "GELU overwrites");
  check("x", a.x, a.x.dim(0), w.cols);
  check("out", a.out, a.x.dim(0), is_gated ? w.rows / 2 : w.rows);
  check_vector("norm", a.norm, w.cols);
  check_vector("bias", a.bias, w.rows);
  Picked(implementation(ctx.backend), "packed_linear")(ctx, a);
}

}  // namespace offbook::ops
