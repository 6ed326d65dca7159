#include "src/ops/lora/lora.h"

#include "src/ops/dispatch.h"
#include "src/ops/lora/parts.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

bool is_row_matrix(const Tensor& t) {
  return t.defined() && t.rank() == 2 && is_activation(t) && (t.dim(1) <= 1 || t.stride(1) == 1);
}

void check_factors(const LoraArgs& a, const LoraPart& part, size_t index) {
  const LoraFactors& f = part.adapters[index];
  if (!f.a.defined() && !f.b.defined()) {
    return;
  }
  OB_OP_REQUIRE("lora", is_row_matrix(f.a) && f.a.dim(0) > 0 && f.a.dim(1) == a.x.dim(1),
                "a of adapter {} is f32 or bf16 [rank, {}], not {}", index, a.x.dim(1),
                to_string(f.a));
  OB_OP_REQUIRE("lora",
                is_row_matrix(f.b) && f.b.dim(0) == part.out.dim(1) && f.b.dim(1) == f.a.dim(0),
                "b of adapter {} is f32 or bf16 [{}, {}], not {}", index, part.out.dim(1),
                f.a.dim(0), to_string(f.b));
}

}  // namespace

void lora(const ExecutionContext& ctx, const LoraArgs& a) {
  OB_OP_REQUIRE("lora", is_row_matrix(a.x) && a.x.dim(1) > 0, "x is f32 or bf16 [n, in], not {}",
                to_string(a.x));
  OB_OP_REQUIRE("lora", a.parts.size() <= kMostLoraParts, "at most {} parts read x, not {}",
                kMostLoraParts, a.parts.size());
  OB_OP_REQUIRE("lora",
                a.adapter_of_row.defined() && a.adapter_of_row.dtype() == Dtype::i32 &&
                    a.adapter_of_row.shape() == Shape{a.x.dim(0)} &&
                    a.adapter_of_row.is_contiguous(),
                "adapter_of_row is i32 [{}], not {}", a.x.dim(0), to_string(a.adapter_of_row));
  OB_OP_REQUIRE(
      "lora",
      is_row_matrix(a.scratch) && a.scratch.dtype() == Dtype::f32 && a.scratch.dim(0) >= a.x.dim(0),
      "scratch is f32 [{}, largest rank], not {}", a.x.dim(0), to_string(a.scratch));
  int64_t rank = 0;
  for (const LoraPart& part : a.parts) {
    OB_OP_REQUIRE("lora", is_row_matrix(part.out) && part.out.dim(0) == a.x.dim(0),
                  "out is f32 or bf16 [{}, out], not {}", a.x.dim(0), to_string(part.out));
    for (size_t i = 0; i < part.adapters.size(); ++i) {
      check_factors(a, part, i);
    }
    rank += largest_rank(part);
  }
  OB_OP_REQUIRE("lora", a.scratch.dim(1) >= rank, "scratch {} has room for ranks of {} in sum",
                to_string(a.scratch), rank);
  pick(&OpTable::lora, ctx, "lora")(ctx, a);
}

}  // namespace offbook::ops
