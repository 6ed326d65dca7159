#include <algorithm>
#include <cmath>

#include "src/ops/attention/problem.h"
#include "src/ops/registry.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/rope/rotate.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerTask = 16;

template <typename X, typename P>
void write_rows(const ExecutionContext& ctx, const KvWriteArgs& a) {
  const int64_t heads = a.k.dim(1);
  const int64_t dim = a.k.dim(2);
  const auto* table = a.table.data<float>();
  const auto* slots = a.slots.data<int32_t>();
  ctx.pool->parallel_for(a.k.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t at = (int64_t{slots[n]} * heads + h) * dim;
        rotate_head(head_of<X>(a.k, n, h), table + n * dim, dim, a.k_pages.data<P>() + at, {});
        const X* from = head_of<X>(a.v, n, h);
        P* to = a.v_pages.data<P>() + at;
        for_lanes(dim, [&](int64_t i, int lanes) {
          store_some(to + i, load_some(from + i, lanes), lanes);
        });
      }
    }
  });
}

Tensor rows_of(const Tensor& pages) {
  return pages.reshape({pages.dim(0) * kPageTokens, pages.dim(2), pages.dim(3)});
}

}  // namespace

void kv_write(const ExecutionContext& ctx, const KvWriteArgs& a) {
  if (a.q.defined()) {
    rope(ctx, {.x = a.q, .table = a.table, .out = a.q});
  }
  with_activation_type(a.k.dtype(), [&](auto* xt) {
    using X = std::remove_pointer_t<decltype(xt)>;
    with_activation_type(a.k_pages.dtype(), [&](auto* pt) {
      write_rows<X, std::remove_pointer_t<decltype(pt)>>(ctx, a);
    });
  });
}

void paged_attention(const ExecutionContext& ctx, const PagedAttentionArgs& a) {
  solve(ctx, {.q = a.q,
              .k = rows_of(a.k_pages),
              .v = rows_of(a.v_pages),
              .out = a.out,
              .paged = reinterpret_cast<const PagedSequence*>(a.sequences.raw()),
              .page_list = a.page_list.data<int32_t>(),
              .sequences = a.sequences.dim(0),
              .max_length = a.max_length,
              .max_keys = a.max_kv_length,
              .window = a.window,
              .scale = a.scale});
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
