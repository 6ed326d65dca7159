#include "src/ops/norm_linear/norm_linear.h"

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_rows(const char* op, const NormedRows& rows) {
  OB_REQUIRE(rows.x.rank() == 2 && is_activation(rows.x) && rows.x.dim(1) > 0 &&
                 (rows.x.dim(1) <= 1 || rows.x.stride(1) == 1),
             InvalidArgument, "{}: x is f32 or bf16 [n, in], not {}", op, to_string(rows.x));
  OB_REQUIRE(rows.weight.rank() == 1 && rows.weight.dim(0) == rows.x.dim(1) &&
                 is_activation(rows.weight) && rows.weight.is_contiguous(),
             InvalidArgument, "{}: weight of the norm is f32 or bf16 [{}], not {}", op,
             rows.x.dim(1), to_string(rows.weight));
  OB_REQUIRE(rows.eps > 0, InvalidArgument, "{}: eps is positive, not {}", op, rows.eps);
}

void check_product(const char* op, const NormedRows& rows, const Tensor& weight,
                   const Tensor& out) {
  OB_REQUIRE(is_weight_matrix(weight) && weight.dim(1) == rows.x.dim(1), InvalidArgument,
             "{}: a weight is a float or quantised matrix [out, {}], not {}", op, rows.x.dim(1),
             to_string(weight));
  OB_REQUIRE(out.rank() == 2 && is_activation(out) && out.dim(0) == rows.x.dim(0) &&
                 out.dim(1) == weight.dim(0) && (out.dim(1) <= 1 || out.stride(1) == 1),
             InvalidArgument, "{}: out is f32 or bf16 [{}, {}], not {}", op, rows.x.dim(0),
             weight.dim(0), to_string(out));
}

}  // namespace

void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& a) {
  const char* const op = "norm_linear";
  check_rows(op, a.rows);
  for (size_t i = 0; i < a.weights.size(); ++i) {
    if (!a.weights[i].defined()) {
      OB_REQUIRE(i > 0, InvalidArgument, "{}: no weight was given", op);
      continue;
    }
    OB_REQUIRE(i == 0 || a.weights[i - 1].defined(), InvalidArgument,
               "{}: weight {} is missing before weight {}", op, i - 1, i);
    check_product(op, a.rows, a.weights[i], a.outs[i]);
    const Tensor& bias = a.biases[i];
    OB_REQUIRE(!bias.defined() || (bias.dtype() == Dtype::f32 && bias.is_contiguous() &&
                                   bias.shape() == Shape{a.weights[i].dim(0)}),
               InvalidArgument, "{}: a bias is f32 [{}], not {}", op, a.weights[i].dim(0),
               to_string(bias));
  }
  pick(&OpTable::norm_linear, ctx, op)(ctx, a);
}

void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {
  const char* const op = "norm_swiglu";
  check_rows(op, a.rows);
  check_product(op, a.rows, a.gate, a.out);
  check_product(op, a.rows, a.up, a.out);
  OB_REQUIRE(a.out.dtype() == a.rows.x.dtype(), InvalidArgument,
             "{}: out has the type of x, {}, not {}", op, to_string(a.rows.x), to_string(a.out));
  pick(&OpTable::norm_swiglu, ctx, op)(ctx, a);
}

}  // namespace offbook::ops
