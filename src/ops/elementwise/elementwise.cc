#include "src/ops/elementwise/elementwise.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

bool has_rows(const Tensor& t) { return t.rank() >= 1 && t.rank() <= 3 && (t.dim(-1) <= 1 || t.stride(-1) == 1); }

bool is_f32_vector(const Tensor& t, int64_t n) {
  return t.dtype() == Dtype::f32 && t.rank() == 1 && t.dim(0) == n && t.is_contiguous();
}

}  // namespace

void add(const ExecutionContext& ctx, const AddArgs& a) {
  OB_OP_REQUIRE("add", has_rows(a.a) && a.a.shape() == a.b.shape() && a.a.shape() == a.out.shape(),
                "a {}, b {} and out {} have one shape", to_string(a.a), to_string(a.b), to_string(a.out));
  OB_OP_REQUIRE("add", is_activation(a.a) && a.b.dtype() == a.a.dtype() && is_activation(a.out),
                "a {} and b {} have one type, f32 or bf16", to_string(a.a), to_string(a.b));
  pick(&OpTable::add, ctx, "add")(ctx, a);
}

void copy(const ExecutionContext& ctx, const CopyArgs& a) {
  OB_OP_REQUIRE("copy", has_rows(a.x) && has_rows(a.out) && a.x.shape() == a.out.shape(), "x {} and out {} have one shape",
                to_string(a.x), to_string(a.out));
  const bool ints = a.x.dtype() == Dtype::i32 && a.out.dtype() == Dtype::i32 && a.alpha == 1.0f;
  OB_OP_REQUIRE("copy", (is_activation(a.x) && is_activation(a.out)) || (ints && a.write == Write::overwrite),
                "cannot copy {} to {}", to_string(a.x), to_string(a.out));
  pick(&OpTable::copy, ctx, "copy")(ctx, a);
}

void fill(const ExecutionContext& ctx, const FillArgs& a) {
  OB_OP_REQUIRE("fill", has_rows(a.out) && (is_activation(a.out) || a.out.dtype() == Dtype::i32),
                "out is f32, bf16 or i32 of rank 1…3, not {}", to_string(a.out));
  pick(&OpTable::fill, ctx, "fill")(ctx, a);
}

void affine_rows(const ExecutionContext& ctx, const AffineRowsArgs& a) {
  OB_OP_REQUIRE("affine_rows", a.x.rank() == 2 && has_rows(a.x) && is_activation(a.x) && a.out.shape() == a.x.shape() &&
                                   is_activation(a.out),
                "x {} and out {} are f32 or bf16 [n, dim]", to_string(a.x), to_string(a.out));
  OB_OP_REQUIRE("affine_rows", is_f32_vector(a.scale, 1) && is_f32_vector(a.row, a.x.dim(1)),
                "scale {} is f32 [1], row {} is f32 [{}]", to_string(a.scale), to_string(a.row), a.x.dim(1));
  pick(&OpTable::affine_rows, ctx, "affine_rows")(ctx, a);
}

void affine_rows_backward(const ExecutionContext& ctx, const AffineRowsBackwardArgs& a) {
  OB_OP_REQUIRE("affine_rows_backward", a.x.rank() == 2 && is_activation(a.x) && a.d_out.shape() == a.x.shape() &&
                                            (!a.d_x.defined() || a.d_x.shape() == a.x.shape()),
                "x {}, d_out {} and d_x have one shape", to_string(a.x), to_string(a.d_out));
  OB_OP_REQUIRE("affine_rows_backward",
                is_f32_vector(a.scale, 1) && is_f32_vector(a.d_scale, 1) && is_f32_vector(a.d_row, a.x.dim(1)),
                "scale and d_scale are f32 [1], d_row {} is f32 [{}]", to_string(a.d_row), a.x.dim(1));
  pick(&OpTable::affine_rows_backward, ctx, "affine_rows_backward")(ctx, a);
}

}  // namespace offbook::ops
