#include "src/ops/rms_norm/rms_norm.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_common(const char* op, const Tensor& x, const Tensor& weight, float eps) {
  OB_REQUIRE((x.rank() == 2 || x.rank() == 3) && is_activation(x), InvalidArgument,
             "{}: x is f32 or bf16 [n, dim] or [n, heads, dim], not {}", op, to_string(x));
  OB_REQUIRE(weight.rank() == 1 && weight.dim(0) == x.dim(-1) && is_activation(weight) && weight.is_contiguous(),
             InvalidArgument, "{}: weight is f32 or bf16 [{}], not {}", op, x.dim(-1), to_string(weight));
  OB_REQUIRE(eps > 0, InvalidArgument, "{}: eps is positive, not {}", op, eps);
}

}  // namespace

void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) {
  check_common("rms_norm", a.x, a.weight, a.eps);
  OB_OP_REQUIRE("rms_norm", a.out.shape() == a.x.shape() && is_activation(a.out), "out is {}, not {}",
                to_string(a.x.shape()), to_string(a.out));
  pick(&OpTable::rms_norm, ctx, "rms_norm")(ctx, a);
}

void rms_norm_backward(const ExecutionContext& ctx, const RmsNormBackwardArgs& a) {
  check_common("rms_norm_backward", a.x, a.weight, a.eps);
  OB_OP_REQUIRE("rms_norm_backward", a.d_out.shape() == a.x.shape() && a.d_x.shape() == a.x.shape(),
                "d_out {} and d_x {} have the shape of x {}", to_string(a.d_out), to_string(a.d_x), to_string(a.x));
  OB_OP_REQUIRE("rms_norm_backward",
                !a.d_weight.defined() || (a.d_weight.shape() == a.weight.shape() && a.d_weight.dtype() == Dtype::f32),
                "d_weight is f32 {}, not {}", to_string(a.weight.shape()), to_string(a.d_weight));
  pick(&OpTable::rms_norm_backward, ctx, "rms_norm_backward")(ctx, a);
}

}  // namespace offbook::ops
