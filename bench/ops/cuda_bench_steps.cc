// Whole tokens: all products, attention and small operations, layer after layer.
#include "bench/ops/cuda_bench.h"

#include <cmath>

namespace offbook::bench {
namespace {

using ops::kPageTokens;

struct Layer {
  Tensor qkv, o, gate_up, down, norm, k_pages, v_pages;
};

// One token's pass over `kept` tokens, with every layer's own weights and cache.
void decode_step(CudaBench& bench, const Decoder& d, Dtype dtype, int32_t kept) {
  const std::string name =
      fmt::format("decode step {} {} at {}", d.heads.model, short_name(dtype), kept);
  if (!bench.wants(name)) {
    return;
  }
  auto& ctx = bench.context();
  const auto [model, heads, kv_heads, dim] = d.heads;
  const int32_t pages =
      (kept + static_cast<int32_t>(kPageTokens) - 1) / static_cast<int32_t>(kPageTokens);
  double bytes = 0;
  std::vector<Layer> layers;
  for (int i = 0; i < d.layers; ++i) {
    const Shape cache{pages, kPageTokens, kv_heads, dim};
    layers.push_back({.qkv = bench.random(dtype, {(heads + 2 * kv_heads) * dim, d.hidden}),
                      .o = bench.random(dtype, {d.hidden, heads * dim}),
                      .gate_up = bench.random(dtype, {2 * d.feed_forward, d.hidden}),
                      .down = bench.random(dtype, {d.hidden, d.feed_forward}),
                      .norm = bench.random(Dtype::bf16, {d.hidden}),
                      .k_pages = bench.random(Dtype::bf16, cache),
                      .v_pages = bench.random(Dtype::bf16, cache)});
    const Layer& l = layers.back();
    bytes += bytes_of(l.qkv) + bytes_of(l.o) + bytes_of(l.gate_up) + bytes_of(l.down);
  }
  bytes += 4.0 * kept * static_cast<double>(kv_heads * dim) * d.layers;
  const Tensor head = bench.random(dtype, {d.vocab, d.hidden});
  bytes += bytes_of(head);
  std::vector<int32_t> list(static_cast<size_t>(pages));
  for (size_t i = 0; i < list.size(); ++i) {
    list[i] = static_cast<int32_t>(i);
  }
  const auto row = [&](int64_t size) { return bench.random(Dtype::bf16, {1, size}); };
  const Tensor x = row(d.hidden);
  const Tensor normed = row(d.hidden);
  const Tensor qkv = row((heads + 2 * kv_heads) * dim);
  const Tensor mixed = row(heads * dim);
  const Tensor gate_up = row(2 * d.feed_forward);
  const Tensor gated = row(d.feed_forward);
  const Tensor logits = bench.uninitialised(Dtype::f32, {1, d.vocab});
  const Tensor token = bench.uninitialised(Dtype::i32, {1});
  const Tensor table = bench.random(Dtype::f32, {1, dim});
  const Tensor slots = bench.ints({kept - 1}, {1});
  const auto part = [&](int64_t begin, int64_t count) {
    return qkv.slice(1, begin * dim, (begin + count) * dim).split_axis(1, dim);
  };
  ops::PagedAttentionArgs attention{
      .q = part(0, heads),
      .k_pages = {},
      .v_pages = {},
      .page_list = bench.ints(list, {pages}),
      .sequences = bench.ints({0, 1, kept, 0}, {1, ops::kPagedSequenceFields}),
      .max_length = 1,
      .max_kv_length = kept,
      .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
      .out = mixed.split_axis(1, dim)};
  const auto tail = [&](const Layer& l) {
    attention.k_pages = l.k_pages;
    attention.v_pages = l.v_pages;
    ops::paged_attention(ctx, attention);
    ops::linear(ctx, {.x = mixed, .weight = l.o, .write = ops::Write::accumulate, .out = x});
  };
  const auto finish = [&] {
    ops::linear(ctx, {.x = normed, .weight = head, .out = logits});
    ops::argmax(ctx, {.x = logits, .out = token});
  };
  const auto unfused = [&](int) {
    for (const Layer& l : layers) {
      ops::rms_norm(ctx, {.x = x, .weight = l.norm, .out = normed});
      ops::linear(ctx, {.x = normed, .weight = l.qkv, .out = qkv});
      ops::rope(ctx, {.x = part(0, heads), .table = table, .out = part(0, heads)});
      ops::kv_write(ctx, {.k = part(heads, kv_heads),
                          .v = part(heads + kv_heads, kv_heads),
                          .table = table,
                          .slots = slots,
                          .k_pages = l.k_pages,
                          .v_pages = l.v_pages});
      tail(l);
      ops::rms_norm(ctx, {.x = x, .weight = l.norm, .out = normed});
      ops::linear(ctx, {.x = normed, .weight = l.gate_up, .out = gate_up});
      ops::swiglu(ctx, {.gate = gate_up.slice(1, 0, d.feed_forward),
                        .up = gate_up.slice(1, d.feed_forward, 2 * d.feed_forward),
                        .out = gated});
      ops::linear(ctx, {.x = gated, .weight = l.down, .write = ops::Write::accumulate, .out = x});
    }
    finish();
  };
  const auto fused = [&](int) {
    for (const Layer& l : layers) {
      const ops::NormedRows rows{.x = x, .weight = l.norm};
      ops::norm_linear(ctx, {.rows = rows, .weights = {l.qkv}, .biases = {}, .outs = {qkv}});
      ops::kv_write(ctx, {.k = part(heads, kv_heads),
                          .v = part(heads + kv_heads, kv_heads),
                          .table = table,
                          .slots = slots,
                          .k_pages = l.k_pages,
                          .v_pages = l.v_pages,
                          .q = part(0, heads)});
      tail(l);
      ops::norm_swiglu(ctx, {.rows = rows,
                             .gate = l.gate_up.slice(0, 0, d.feed_forward),
                             .up = l.gate_up.slice(0, d.feed_forward, 2 * d.feed_forward),
                             .out = gated});
      ops::linear(ctx, {.x = gated, .weight = l.down, .write = ops::Write::accumulate, .out = x});
    }
    finish();
  };
  bench.run(name, {.bytes = bytes}, fused);
  bench.run(name + ", unfused", {.bytes = bytes}, unfused);
}

}  // namespace

void run_decode_steps(CudaBench& bench) {
  for (const int32_t kept : {4096, 32768, 131072}) {
    decode_step(bench, kLlama2Decoder, Dtype::bf16, kept);
    bench.next_group();
  }
  for (const int32_t kept : {4369, 131072}) {
    decode_step(bench, kLlama3Decoder, Dtype::bf16, kept);
    bench.next_group();
  }
  decode_step(bench, kSmolDecoder, Dtype::bf16, 8192);
  decode_step(bench, kSmolDecoder, Dtype::q4_1, 8192);
  decode_step(bench, kLlama2Decoder, Dtype::q4_1, 4096);
  bench.next_group();
}

}  // namespace offbook::bench
