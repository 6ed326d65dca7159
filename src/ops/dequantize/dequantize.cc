#include "src/ops/dequantize/dequantize.h"

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void dequantize(const ExecutionContext& ctx, const DequantizeArgs& a) {
  OB_OP_REQUIRE("dequantize", is_weight_matrix(a.x), "x is a float or quantised matrix, not {}",
                to_string(a.x));
  OB_OP_REQUIRE(
      "dequantize", is_activation(a.out) && a.out.shape() == a.x.shape() && a.out.is_contiguous(),
      "out is contiguous f32 or bf16 {}, not {}", to_string(a.x.shape()), to_string(a.out));
  pick(&OpTable::dequantize, ctx, "dequantize")(ctx, a);
}

}  // namespace offbook::ops
