#include "src/ops/linear/linear.h"

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

// f32 or bf16 [rows, cols] whose rows may be strided.
void check_rows(const char* op, const char* name, const Tensor& t, int64_t rows, int64_t cols) {
  OB_REQUIRE(t.defined() && t.rank() == 2 && is_activation(t) && t.dim(0) == rows &&
                 t.dim(1) == cols && (cols <= 1 || t.stride(1) == 1),
             InvalidArgument, "{}: {} is f32 or bf16 [{}, {}], not {}", op, name, rows, cols,
             to_string(t));
}

void check_weight(const char* op, const Tensor& weight) {
  OB_REQUIRE(is_weight_matrix(weight) && weight.dim(1) > 0, InvalidArgument,
             "{}: weight is a float or quantised matrix [out, in] with in > 0, not {}", op,
             to_string(weight));
}

int64_t rows_of(const char* op, const char* name, const Tensor& t) {
  OB_REQUIRE(t.defined() && t.rank() == 2, InvalidArgument, "{}: {} is a matrix, not {}", op, name,
             to_string(t));
  return t.dim(0);
}

void check_vector(const char* op, const char* name, const Tensor& t, int64_t size) {
  OB_REQUIRE(
      !t.defined() || (t.dtype() == Dtype::f32 && t.is_contiguous() && t.shape() == Shape{size}),
      InvalidArgument, "{}: {} is f32 [{}], not {}", op, name, size, to_string(t));
}

}  // namespace

void linear(const ExecutionContext& ctx, const LinearArgs& a) {
  check_weight("linear", a.weight);
  const int64_t n = rows_of("linear", "x", a.x);
  check_rows("linear", "x", a.x, n, a.weight.dim(1));
  check_rows("linear", "out", a.out, n, a.weight.dim(0));
  check_vector("linear", "bias", a.bias, a.weight.dim(0));
  if (a.addend.defined()) {
    check_rows("linear", "addend", a.addend, n, a.weight.dim(0));
    OB_OP_REQUIRE("linear", a.write == Write::overwrite && a.addend.dtype() == a.out.dtype(),
                  "an addend has the type of an output that is overwritten, {} is added to {}",
                  to_string(a.addend), to_string(a.out));
    if (ctx.backend != Backend::cuda) {
      LinearArgs on_top = a;
      on_top.addend = {};
      on_top.write = Write::accumulate;
      copy(ctx, {.x = a.addend, .out = a.out});
      return linear(ctx, on_top);
    }
  }
  pick(&OpTable::linear, ctx, "linear")(ctx, a);
}

void linear_backward_input(const ExecutionContext& ctx, const LinearBackwardInputArgs& a) {
  check_weight("linear_backward_input", a.weight);
  OB_OP_REQUIRE("linear_backward_input", a.weight.dim(0) > 0,
                "weight is [out, in] with out > 0, not {}", to_string(a.weight));
  const int64_t n = rows_of("linear_backward_input", "d_out", a.d_out);
  check_rows("linear_backward_input", "d_out", a.d_out, n, a.weight.dim(0));
  check_rows("linear_backward_input", "d_x", a.d_x, n, a.weight.dim(1));
  pick(&OpTable::linear_backward_input, ctx, "linear_backward_input")(ctx, a);
}

void linear_backward_weight(const ExecutionContext& ctx, const LinearBackwardWeightArgs& a) {
  const int64_t n = rows_of("linear_backward_weight", "x", a.x);
  OB_OP_REQUIRE("linear_backward_weight",
                a.d_weight.defined() && a.d_weight.rank() == 2 && a.d_weight.dtype() == Dtype::f32,
                "d_weight is an f32 matrix [out, in], not {}", to_string(a.d_weight));
  check_rows("linear_backward_weight", "x", a.x, n, a.d_weight.dim(1));
  check_rows("linear_backward_weight", "d_out", a.d_out, n, a.d_weight.dim(0));
  check_rows("linear_backward_weight", "d_weight", a.d_weight, a.d_weight.dim(0),
             a.d_weight.dim(1));
  check_vector("linear_backward_weight", "d_bias", a.d_bias, a.d_weight.dim(0));
  pick(&OpTable::linear_backward_weight, ctx, "linear_backward_weight")(ctx, a);
}

}  // namespace offbook::ops
