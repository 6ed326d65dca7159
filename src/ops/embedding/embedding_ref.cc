#include "src/ops/ref_rows.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void embedding(const ExecutionContext& ctx, const EmbeddingArgs& a) {
  for (int64_t n = 0; n < a.ids.dim(0); ++n) {
    const int64_t id = get_i32(a.ids, n);
    dequantize(ctx, {.x = a.table.slice(0, id, id + 1), .out = a.out.slice(0, n, n + 1)});
  }
}

void embedding_backward(const ExecutionContext&, const EmbeddingBackwardArgs& a) {
  for (int64_t n = 0; n < a.ids.dim(0); ++n) {
    const int64_t id = get_i32(a.ids, n);
    for (int64_t i = 0; i < a.d_out.dim(1); ++i) {
      set(a.d_table, get(a.d_table, id, i) + get(a.d_out, n, i), id, i);
    }
  }
}

}  // namespace offbook::ops::ref
