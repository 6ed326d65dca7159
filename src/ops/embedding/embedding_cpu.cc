#include "src/ops/dispatch.h"
#include "src/ops/kernel_types.h"
#include "src/ops/registry.h"

#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {

void embedding(const ExecutionContext& ctx, const EmbeddingArgs& a) {
  // On the calling thread: 2,048 rows of 576 take under a millisecond, a task each would cost more.
  const int32_t* ids = a.ids.data<int32_t>();
  for (int64_t n = 0; n < a.ids.dim(0); ++n) {
    dequantize(ctx, {.x = a.table.slice(0, ids[n], ids[n] + 1), .out = a.out.slice(0, n, n + 1)});
  }
}

void embedding_backward(const ExecutionContext& ctx, const EmbeddingBackwardArgs& a) {
  constexpr int64_t kColumns = 64;  // a task owns columns, so repeated ids add in order
  const int32_t* ids = a.ids.data<int32_t>();
  const Rows d_out(a.d_out);
  const Rows d_table(a.d_table);
  with_activation_type(a.d_out.dtype(), [&](auto* tag) {
    using T = OB_TYPE(tag);
    ctx.pool->parallel_for(d_out.dim(), kColumns, [&](int64_t begin, int64_t end) {
      for (int64_t r = 0; r < d_out.count(); ++r) {
        const T* from = d_out.row<T>(r) + begin;
        float* to = d_table.row<float>(ids[r]) + begin;
        for_lanes(end - begin,
                  [&](int64_t i, int n) { store_some(to + i, load_some(to + i, n) + load_some(from + i, n), n); });
      }
    });
  });
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
