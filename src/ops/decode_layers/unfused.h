// decode_layers out of the operations it fuses: for backends without a kernel of their own, and
// where that kernel does not fit.
#pragma once
#include "src/ops/registry.h"

namespace offbook::ops {

// Norm, queries, keys and values of a layer; the queries turned, the others in their pages.
template <class Ops>
void project_unfused(const ExecutionContext& ctx, const DecodeLayersArgs& a, const DecodeLayer& w,
                     const Tensor& queries) {
  const int64_t dim = queries.dim(2);
  const int64_t q = queries.dim(1) * dim;
  const int64_t kv = w.k_pages.dim(2) * dim;
  const Tensor k = ctx.make(a.x.dtype(), {1, kv});
  const Tensor v = ctx.make(a.x.dtype(), {1, kv});
  Ops::norm_linear(ctx, {.rows = {a.x, w.attn_norm, a.eps},
                         .weights = {w.qkv.slice(0, 0, q), w.qkv.slice(0, q, q + kv),
                                     w.qkv.slice(0, q + kv, q + 2 * kv)},
                         .biases = {},
                         .outs = {queries.merge_last(), k, v}});
  Ops::kv_write(ctx, {.k = k.split_axis(1, dim),
                      .v = v.split_axis(1, dim),
                      .table = a.table,
                      .slots = a.slots,
                      .k_pages = w.k_pages,
                      .v_pages = w.v_pages,
                      .q = queries});
}

// `Ops` names the backend's operations, and how it projects.
template <class Ops>
void decode_layers_unfused(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  for (const DecodeLayer& w : a.layers) {
    backend::ArenaScope scope(*ctx.arena);
    const Dtype dtype = a.x.dtype();
    const int64_t dim = w.k_pages.dim(3);
    const int64_t q = w.qkv.dim(0) - 2 * w.k_pages.dim(2) * dim;
    const Tensor queries = ctx.make(dtype, {1, q / dim, dim});
    const Tensor attended = ctx.make(dtype, {1, q});
    const Tensor inner = ctx.make(dtype, {1, w.gate.dim(0)});
    Ops::project(ctx, a, w, queries);
    Ops::paged_attention(ctx, {.q = queries,
                               .k_pages = w.k_pages,
                               .v_pages = w.v_pages,
                               .page_list = a.page_list,
                               .sequences = a.sequences,
                               .max_length = 1,
                               .max_kv_length = a.max_kv_length,
                               .scale = a.scale,
                               .out = attended.split_axis(1, dim)});
    Ops::linear(ctx, {.x = attended, .weight = w.o, .write = Write::accumulate, .out = a.x});
    Ops::norm_swiglu(ctx,
                     {.rows = {a.x, w.ffn_norm, a.eps}, .gate = w.gate, .up = w.up, .out = inner});
    Ops::linear(ctx, {.x = inner, .weight = w.down, .write = Write::accumulate, .out = a.x});
  }
}

// The struct that names the operations of the namespace around it.
#define OB_DECODE_LAYERS_OPS(name_space)                                                    \
  struct Ops {                                                                              \
    static void project(const ExecutionContext& ctx, const DecodeLayersArgs& a,             \
                        const DecodeLayer& w, const Tensor& queries) {                      \
      project_unfused<Ops>(ctx, a, w, queries);                                             \
    }                                                                                       \
    static void norm_linear(const ExecutionContext& ctx, const NormLinearArgs& a) {         \
      name_space::norm_linear(ctx, a);                                                      \
    }                                                                                       \
    static void kv_write(const ExecutionContext& ctx, const KvWriteArgs& a) {               \
      name_space::kv_write(ctx, a);                                                         \
    }                                                                                       \
    static void paged_attention(const ExecutionContext& ctx, const PagedAttentionArgs& a) { \
      name_space::paged_attention(ctx, a);                                                  \
    }                                                                                       \
    static void linear(const ExecutionContext& ctx, const LinearArgs& a) {                  \
      name_space::linear(ctx, a);                                                           \
    }                                                                                       \
    static void norm_swiglu(const ExecutionContext& ctx, const NormSwigluArgs& a) {         \
      name_space::norm_swiglu(ctx, a);                                                      \
    }                                                                                       \
  }

}  // namespace offbook::ops
