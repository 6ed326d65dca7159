#include "src/ops/argmax/argmax.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void argmax(const ExecutionContext& ctx, const ArgmaxArgs& a) {
  OB_OP_REQUIRE("argmax", a.x.rank() == 2 && is_activation(a.x) && a.x.dim(1) > 0 && a.x.stride(1) == 1 &&
                              a.out.dtype() == Dtype::i32 && a.out.shape() == Shape({a.x.dim(0)}),
                "x {} is [n, vocab], out {} is i32 [n]", to_string(a.x), to_string(a.out));
  pick(&OpTable::argmax, ctx, "argmax")(ctx, a);
}

}  // namespace offbook::ops
