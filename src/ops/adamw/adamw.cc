#include "src/ops/adamw/adamw.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void adamw(const ExecutionContext& ctx, const AdamwArgs& a) {
  for (const Tensor& t : {a.param, a.grad, a.m, a.v}) {
    OB_OP_REQUIRE("adamw", t.dtype() == Dtype::f32 && t.rank() == 1 && t.dim(0) == a.param.dim(0) && t.is_contiguous(),
                  "param, grad, m and v are f32 [{}], not {}", a.param.dim(0), to_string(t));
  }
  OB_OP_REQUIRE("adamw", !a.copy.defined() || (a.copy.dtype() == Dtype::bf16 && a.copy.shape() == a.param.shape()),
                "copy is bf16 {}, not {}", to_string(a.param.shape()), to_string(a.copy));
  OB_OP_REQUIRE("adamw", a.step >= 1 && a.beta1 >= 0 && a.beta1 < 1 && a.beta2 >= 0 && a.beta2 < 1 && a.eps > 0,
                "step {} ≥ 1, betas {} and {} in [0, 1), eps {} > 0", a.step, a.beta1, a.beta2, a.eps);
  pick(&OpTable::adamw, ctx, "adamw")(ctx, a);
}

void sum_squares(const ExecutionContext& ctx, const SumSquaresArgs& a) {
  OB_OP_REQUIRE("sum_squares", is_activation(a.x) && a.x.is_contiguous() && a.out.dtype() == Dtype::f32 &&
                                   a.out.numel() == 1,
                "x {} is contiguous f32 or bf16, out {} is f32 [1]", to_string(a.x), to_string(a.out));
  pick(&OpTable::sum_squares, ctx, "sum_squares")(ctx, a);
}

}  // namespace offbook::ops
