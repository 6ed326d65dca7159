#include "src/ops/embedding/embedding.h"

#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

void check_ids(const ExecutionContext& ctx, const char* op, const Tensor& ids, int64_t vocab) {
  OB_REQUIRE(ids.rank() == 1 && ids.dtype() == Dtype::i32 && ids.is_contiguous(), InvalidArgument,
             "{}: ids are i32 [n], not {}", op, to_string(ids));
  if (ctx.device() != Device::cpu) {
    return;
  }
  for (int64_t i = 0; i < ids.dim(0); ++i) {
    const int32_t id = ids.data<int32_t>()[i];
    OB_REQUIRE(id >= 0 && id < vocab, InvalidArgument, "{}: id {} at place {} is outside a vocabulary of {}", op, id, i,
               vocab);
  }
}

}  // namespace

void embedding(const ExecutionContext& ctx, const EmbeddingArgs& a) {
  OB_OP_REQUIRE("embedding", a.table.rank() == 2 && a.out.rank() == 2 && a.out.dim(0) == a.ids.numel() &&
                                 a.out.dim(1) == a.table.dim(1) && is_activation(a.out),
                "out {} is f32 or bf16 [{}, {}]", to_string(a.out), a.ids.numel(), a.table.dim(1));
  check_ids(ctx, "embedding", a.ids, a.table.dim(0));
  pick(&OpTable::embedding, ctx, "embedding")(ctx, a);
}

void embedding_backward(const ExecutionContext& ctx, const EmbeddingBackwardArgs& a) {
  OB_OP_REQUIRE("embedding_backward", a.d_table.rank() == 2 && a.d_table.dtype() == Dtype::f32 && a.d_out.rank() == 2 &&
                                          is_activation(a.d_out) && a.d_out.dim(0) == a.ids.numel() &&
                                          a.d_out.dim(1) == a.d_table.dim(1),
                "d_out {} has a row of d_table {} for every id", to_string(a.d_out), to_string(a.d_table));
  check_ids(ctx, "embedding_backward", a.ids, a.d_table.dim(0));
  pick(&OpTable::embedding_backward, ctx, "embedding_backward")(ctx, a);
}

}  // namespace offbook::ops
