#include "src/ops/layer_norm/layer_norm.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void layer_norm(const ExecutionContext& ctx, const LayerNormArgs& a) {
  OB_OP_REQUIRE("layer_norm", a.x.rank() == 2 && is_activation(a.x) && a.out.shape() == a.x.shape() &&
                                  a.out.dtype() == a.x.dtype(),
                "x {} and out {} are [n, dim] of one type", to_string(a.x), to_string(a.out));
  OB_OP_REQUIRE("layer_norm",
                !a.residual.defined() || (a.residual.shape() == a.x.shape() && a.residual.dtype() == a.x.dtype()),
                "residual {} is like x {}", to_string(a.residual), to_string(a.x));
  for (const Tensor& t : {a.weight, a.bias}) {
    OB_OP_REQUIRE("layer_norm", t.dtype() == Dtype::f32 && t.shape() == Shape({a.x.dim(1)}) && t.is_contiguous(),
                  "weight and bias are f32 [{}], not {}", a.x.dim(1), to_string(t));
  }
  pick(&OpTable::layer_norm, ctx, "layer_norm")(ctx, a);
}

}  // namespace offbook::ops
