#include "src/ops/gelu/gelu.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void gelu(const ExecutionContext& ctx, const GeluArgs& a) {
  OB_OP_REQUIRE("gelu", is_activation(a.x) && a.x.is_contiguous() && a.out.is_contiguous() &&
                            a.out.shape() == a.x.shape() && a.out.dtype() == a.x.dtype(),
                "x {} and out {} have one shape and type, contiguous", to_string(a.x), to_string(a.out));
  pick(&OpTable::gelu, ctx, "gelu")(ctx, a);
}

}  // namespace offbook::ops
