// Inference over a key/value cache in pages: writing new keys and values (and rotating the queries
// that come with them), and attending to them.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

inline constexpr int kPageTokens = 64;

struct KvWriteArgs {
  Tensor k;      // [n, kv_heads, dim], f32 or bf16, before RoPE
  Tensor v;      // [n, kv_heads, dim]
  Tensor table;  // f32 [n, dim] of rope_table
  Tensor slots;  // i32 [n]: page · kPageTokens + place in the page
  Tensor
      k_pages;  // [pages, kPageTokens, kv_heads, dim], f32 or bf16; keys are rotated on the way in
  Tensor v_pages;
  Tensor q;  // [n, heads, dim], f32 or bf16, rotated where it stands as `rope` does; or undefined
};
// Not differentiable.
void kv_write(const ExecutionContext& ctx, const KvWriteArgs& args);

// One row of PagedAttentionArgs::sequences: its queries are the last `length` of `kv_length`
// tokens.
struct PagedSequence {
  int32_t query_begin;
  int32_t length;
  int32_t kv_length;    // tokens in the cache, the queries' own included
  int32_t pages_begin;  // first of its entries in page_list
};
inline constexpr int kPagedSequenceFields = 4;

struct PagedAttentionArgs {
  Tensor q;        // [n, heads, dim], f32 or bf16, RoPE applied
  Tensor k_pages;  // [pages, kPageTokens, kv_heads, dim]
  Tensor v_pages;
  Tensor page_list;  // i32 [entries]: pages of the sequences, in token order
  // i32 [sequences, 4] as PagedSequence; their queries do not overlap and come in order. On the CPU
  // all ranges, and the pages that are read, are checked: InvalidArgument names the sequence. Pages
  // wholly before the window of every query are not read.
  Tensor sequences;
  int32_t max_length = 0;
  int32_t max_kv_length = 0;
  int32_t window = 0;  // > 0: sliding window
  float scale = 0;
  // ≥ 0: there is one sequence, and its pages are this one and those behind it, in order. A GPU
  // then reads keys of long chunks where they lie, without page_list.
  int32_t first_page = -1;
  Tensor out;  // [n, heads, dim]
};
// Causal attention of each sequence over its pages. A row's result does not depend on the other
// rows, but for its bits on a GPU with many rows (src/ops/cuda/README.md says from how many on).
// Not differentiable: training uses `attention`.
void paged_attention(const ExecutionContext& ctx, const PagedAttentionArgs& args);

}  // namespace offbook::ops
