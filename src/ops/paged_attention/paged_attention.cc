#include "src/ops/paged_attention/paged_attention.h"

#include "src/ops/attention/checks.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

// [pages, kPageTokens, kv_heads, dim] as [pages · kPageTokens, kv_heads, dim].
Tensor page_rows(const char* op, const char* name, const Tensor& pages) {
  OB_REQUIRE(pages.rank() == 4 && pages.dim(1) == kPageTokens && is_activation(pages) &&
                 pages.is_contiguous(),
             InvalidArgument, "{}: {} is contiguous f32 or bf16 [pages, {}, kv_heads, dim], not {}",
             op, name, kPageTokens, to_string(pages));
  return pages.reshape({pages.dim(0) * kPageTokens, pages.dim(2), pages.dim(3)});
}

void check_vector(const char* op, const char* name, const Tensor& t) {
  OB_REQUIRE(t.rank() == 1 && t.dtype() == Dtype::i32 && t.is_contiguous(), InvalidArgument,
             "{}: {} is i32 [n], not {}", op, name, to_string(t));
}

void check_slots(const KvWriteArgs& a) {
  const int64_t places = a.k_pages.dim(0) * kPageTokens;
  const auto* slots = a.slots.data<int32_t>();
  for (int64_t i = 0; i < a.slots.dim(0); ++i) {
    OB_OP_REQUIRE("kv_write", slots[i] >= 0 && slots[i] < places,
                  "slot {} of row {} is not in 0..{}", slots[i], i, places);
  }
}

// The pages that the queries of a sequence read.
void check_pages(const PagedAttentionArgs& a, int64_t index, const PagedSequence& s) {
  const int64_t first = int64_t{s.kv_length} - s.length - a.window + 1;
  const int64_t begin = a.window > 0 && first > 0 ? first / kPageTokens : 0;
  const int64_t end = (int64_t{s.kv_length} + kPageTokens - 1) / kPageTokens;
  OB_OP_REQUIRE("paged_attention", s.pages_begin >= 0 && s.pages_begin + end <= a.page_list.dim(0),
                "sequence {} has entries {}+{} of {} in page_list", index, s.pages_begin, end,
                a.page_list.dim(0));
  const auto* pages = a.page_list.data<int32_t>() + s.pages_begin;
  for (int64_t i = begin; i < end; ++i) {
    OB_OP_REQUIRE("paged_attention", pages[i] >= 0 && pages[i] < a.k_pages.dim(0),
                  "page {} of sequence {} is {}, there are {}", i, index, pages[i],
                  a.k_pages.dim(0));
  }
}

void check_neighbours(const PagedAttentionArgs& a, const PagedSequence& s) {
  const auto* pages = a.page_list.data<int32_t>() + s.pages_begin;
  const int32_t count = (s.kv_length + kPageTokens - 1) / kPageTokens;
  for (int32_t i = 0; i < count; ++i) {
    OB_OP_REQUIRE("paged_attention", a.sequences.dim(0) == 1 && pages[i] == a.first_page + i,
                  "pages of {} sequences said to begin at {}, page {} is {}", a.sequences.dim(0),
                  a.first_page, i, pages[i]);
  }
}

void check_sequences(const PagedAttentionArgs& a) {
  const auto* rows = reinterpret_cast<const PagedSequence*>(a.sequences.raw());
  QueryRanges queries("paged_attention", a.q.dim(0), a.max_length);
  for (int64_t i = 0; i < a.sequences.dim(0); ++i) {
    const PagedSequence& s = rows[i];
    queries.add(i, s.query_begin, s.length);
    if (s.length == 0) {
      continue;
    }
    OB_OP_REQUIRE("paged_attention", s.length <= s.kv_length && s.kv_length <= a.max_kv_length,
                  "sequence {} has kv_length {}, want {}..{}", i, s.kv_length, s.length,
                  a.max_kv_length);
    check_pages(a, i, s);
    if (a.first_page >= 0) {
      check_neighbours(a, s);
    }
  }
}

}  // namespace

void kv_write(const ExecutionContext& ctx, const KvWriteArgs& a) {
  const char* const op = "kv_write";
  OB_REQUIRE(a.k.rank() == 3 && is_activation(a.k) && a.k.dim(2) % 2 == 0, InvalidArgument,
             "{}: k is f32 or bf16 [n, kv_heads, even dim], not {}", op, to_string(a.k));
  check_like(op, "k", a.k, a.k);
  check_like(op, "v", a.v, a.k);
  OB_REQUIRE(a.v.dtype() == a.k.dtype(), InvalidArgument, "{}: v has the type of k, {}, not {}", op,
             to_string(a.k), to_string(a.v));
  const Shape table{a.k.dim(0), a.k.dim(2)};
  OB_REQUIRE(a.table.shape() == table && a.table.dtype() == Dtype::f32 && a.table.is_contiguous(),
             InvalidArgument, "{}: table is f32 {}, not {}", op, to_string(table),
             to_string(a.table));
  const Tensor keys = page_rows(op, "k_pages", a.k_pages);
  const Tensor values = page_rows(op, "v_pages", a.v_pages);
  OB_REQUIRE(keys.dim(1) == a.k.dim(1) && keys.dim(2) == a.k.dim(2) &&
                 keys.shape() == values.shape() && keys.dtype() == values.dtype(),
             InvalidArgument, "{}: pages {} and {} hold no rows of {}", op, to_string(a.k_pages),
             to_string(a.v_pages), to_string(a.k));
  check_vector(op, "slots", a.slots);
  OB_REQUIRE(a.slots.dim(0) == a.k.dim(0), InvalidArgument, "{}: {} slots for {} rows", op,
             a.slots.dim(0), a.k.dim(0));
  OB_REQUIRE(!a.q.defined() || (a.q.rank() == 3 && is_activation(a.q) && a.q.dim(0) == a.k.dim(0) &&
                                a.q.dim(2) == a.k.dim(2)),
             InvalidArgument, "{}: q is f32 or bf16 [{}, heads, {}], not {}", op, a.k.dim(0),
             a.k.dim(2), to_string(a.q));
  if (ctx.device() == Device::cpu) {
    check_slots(a);
  }
  pick(&OpTable::kv_write, ctx, op)(ctx, a);
}

void paged_attention(const ExecutionContext& ctx, const PagedAttentionArgs& a) {
  const char* const op = "paged_attention";
  check_attention_heads(op, a.q, page_rows(op, "k_pages", a.k_pages),
                        page_rows(op, "v_pages", a.v_pages));
  check_like(op, "out", a.out, a.q);
  check_vector(op, "page_list", a.page_list);
  OB_REQUIRE(a.sequences.rank() == 2 && a.sequences.dtype() == Dtype::i32 &&
                 a.sequences.dim(1) == kPagedSequenceFields && a.sequences.is_contiguous(),
             InvalidArgument, "{}: sequences is i32 [sequences, {}], not {}", op,
             kPagedSequenceFields, to_string(a.sequences));
  OB_REQUIRE(a.scale > 0, InvalidArgument, "{}: scale is positive, not {}", op, a.scale);
  OB_REQUIRE(a.window >= 0, InvalidArgument, "{}: window is 0 or more, not {}", op, a.window);
  if (ctx.device() == Device::cpu) {
    check_sequences(a);
  }
  pick(&OpTable::paged_attention, ctx, op)(ctx, a);
}

}  // namespace offbook::ops
