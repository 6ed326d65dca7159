#include "src/ops/rope/rope.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {

void rope_table(const ExecutionContext& ctx, const RopeTableArgs& a) {
  OB_OP_REQUIRE(
      "rope_table",
      a.positions.rank() == 1 && a.positions.dtype() == Dtype::i32 && a.positions.is_contiguous(),
      "positions are i32 [n], not {}", to_string(a.positions));
  OB_OP_REQUIRE(
      "rope_table",
      a.inv_freq.rank() == 1 && a.inv_freq.dtype() == Dtype::f32 && a.inv_freq.is_contiguous(),
      "inv_freq is f32 [dim / 2], not {}", to_string(a.inv_freq));
  const Shape shape{a.positions.dim(0), 2 * a.inv_freq.dim(0)};
  OB_OP_REQUIRE("rope_table",
                a.out.shape() == shape && a.out.dtype() == Dtype::f32 && a.out.is_contiguous(),
                "out is f32 {}, not {}", to_string(shape), to_string(a.out));
  pick(&OpTable::rope_table, ctx, "rope_table")(ctx, a);
}

void rope(const ExecutionContext& ctx, const RopeArgs& a) {
  OB_OP_REQUIRE("rope", a.x.rank() == 3 && is_activation(a.x) && a.x.dim(2) % 2 == 0,
                "x is f32 or bf16 [n, heads, even dim], not {}", to_string(a.x));
  const Shape table{a.x.dim(0), a.x.dim(2)};
  OB_OP_REQUIRE(
      "rope", a.table.shape() == table && a.table.dtype() == Dtype::f32 && a.table.is_contiguous(),
      "table is f32 {}, not {}", to_string(table), to_string(a.table));
  OB_OP_REQUIRE("rope", a.out.shape() == a.x.shape() && is_activation(a.out),
                "out is {}, f32 or bf16, not {}", to_string(a.x.shape()), to_string(a.out));
  pick(&OpTable::rope, ctx, "rope")(ctx, a);
}

}  // namespace offbook::ops
