// Passes over many tokens through all layers, with random weights made on the device. Shares are of
// the 8192³ product: operations of the layers' products and of causal attention over the time.
#include "bench/ops/cuda_bench.h"

#include <cmath>

namespace offbook::bench {
namespace {

using ops::kPageTokens;

struct Layer {
  Tensor qkv, o, gate_up, down, norm;
};

std::vector<Layer> random_layers(CudaBench& bench, const Decoder& d) {
  const auto [model, heads, kv_heads, dim] = d.heads;
  std::vector<Layer> out;
  constexpr float kSmall = 1.0f / 64;  // keeps scores of attention near 1, as trained weights do
  for (int i = 0; i < d.layers; ++i) {
    out.push_back(
        {.qkv = bench.random(Dtype::bf16, {(heads + 2 * kv_heads) * dim, d.hidden}, kSmall),
         .o = bench.random(Dtype::bf16, {d.hidden, heads * dim}, kSmall),
         .gate_up = bench.random(Dtype::bf16, {2 * d.feed_forward, d.hidden}, kSmall),
         .down = bench.random(Dtype::bf16, {d.hidden, d.feed_forward}, kSmall),
         .norm = bench.random(Dtype::bf16, {d.hidden})});
  }
  return out;
}

double layer_weights(const Decoder& d) {
  const auto [model, heads, kv_heads, dim] = d.heads;
  return static_cast<double>(d.hidden * (2 * heads + 2 * kv_heads) * dim +
                             3 * d.hidden * d.feed_forward);
}

// Tensors of one pass over n rows; `attend` is given q, k and v as [n, heads, dim].
struct Rows {
  Rows(CudaBench& bench, const Decoder& decoder, int64_t n) : d(decoder), ctx(bench.context()) {
    const auto [model, heads, kv_heads, dim] = d.heads;
    x = bench.random(Dtype::bf16, {n, d.hidden});
    normed = bench.uninitialised(Dtype::bf16, {n, d.hidden});
    qkv = bench.uninitialised(Dtype::bf16, {n, (heads + 2 * kv_heads) * dim});
    mixed = bench.uninitialised(Dtype::bf16, {n, heads * dim});
    gate_up = bench.uninitialised(Dtype::bf16, {n, 2 * d.feed_forward});
    gated = bench.uninitialised(Dtype::bf16, {n, d.feed_forward});
  }

  Tensor part(int64_t n, int64_t begin, int64_t count) const {
    const int64_t dim = d.heads.dim;
    return qkv.slice(0, 0, n).slice(1, begin * dim, (begin + count) * dim).split_axis(1, dim);
  }

  // The first n rows through one layer; n may be less than the rows there are.
  template <class Attend>
  void through(const Layer& l, int64_t n, const Attend& attend) const {
    const auto [model, heads, kv_heads, dim] = d.heads;
    const auto first = [n](const Tensor& t) { return t.slice(0, 0, n); };
    ops::rms_norm(ctx, {.x = first(x), .weight = l.norm, .out = first(normed)});
    ops::linear(ctx, {.x = first(normed), .weight = l.qkv, .out = first(qkv)});
    attend(part(n, 0, heads), part(n, heads, kv_heads), part(n, heads + kv_heads, kv_heads),
           first(mixed).split_axis(1, dim));
    ops::linear(
        ctx, {.x = first(mixed), .weight = l.o, .write = ops::Write::accumulate, .out = first(x)});
    ops::rms_norm(ctx, {.x = first(x), .weight = l.norm, .out = first(normed)});
    ops::linear(ctx, {.x = first(normed), .weight = l.gate_up, .out = first(gate_up)});
    ops::swiglu(ctx, {.gate = first(gate_up).slice(1, 0, d.feed_forward),
                      .up = first(gate_up).slice(1, d.feed_forward, 2 * d.feed_forward),
                      .out = first(gated)});
    ops::linear(
        ctx,
        {.x = first(gated), .weight = l.down, .write = ops::Write::accumulate, .out = first(x)});
  }

  Decoder d;
  const ops::ExecutionContext& ctx;
  Tensor x, normed, qkv, mixed, gate_up, gated;
};

// `tokens` in chunks of at most `chunk` through all layers into a cache in pages, then the logits
// of the last.
void prefill(CudaBench& bench, const Decoder& d, int32_t tokens, int32_t chunk) {
  const std::string name = fmt::format("prefill {} {} by {}", d.heads.model, tokens, chunk);
  if (!bench.wants(name)) {
    return;
  }
  const auto& ctx = bench.context();
  const auto [model, heads, kv_heads, dim] = d.heads;
  const std::vector<Layer> layers = random_layers(bench, d);
  const Tensor head = bench.random(Dtype::bf16, {d.vocab, d.hidden});
  const int32_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  std::vector<std::pair<Tensor, Tensor>> caches;
  for (int i = 0; i < d.layers; ++i) {
    const Shape cache{pages, kPageTokens, kv_heads, dim};
    caches.emplace_back(bench.uninitialised(Dtype::bf16, cache),
                        bench.uninitialised(Dtype::bf16, cache));
  }
  std::vector<int32_t> list(static_cast<size_t>(pages));
  std::vector<int32_t> slots(static_cast<size_t>(tokens));
  for (size_t i = 0; i < list.size(); ++i) {
    list[i] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i] = static_cast<int32_t>(i);
  }
  const Tensor page_list = bench.ints(list, {pages});
  const Tensor all_slots = bench.ints(slots, {tokens});
  const Rows rows(bench, d, chunk);
  const Tensor table = bench.random(Dtype::f32, {chunk, dim});
  const Tensor logits = bench.uninitialised(Dtype::f32, {1, d.vocab});
  std::vector<Tensor> sequences;
  for (int32_t done = 0; done < tokens; done += chunk) {
    const int32_t n = std::min(chunk, tokens - done);
    sequences.push_back(bench.ints({0, n, done + n, 0}, {1, ops::kPagedSequenceFields}));
  }
  const double t = tokens;
  const double flops = 2 * t * layer_weights(d) * d.layers +
                       2.0 * t * t * static_cast<double>(heads * dim) * d.layers;
  bench.run_long(name, {.flops = flops}, t, [&] {
    for (int32_t done = 0, c = 0; done < tokens; done += chunk, ++c) {
      const int32_t n = std::min(chunk, tokens - done);
      for (size_t i = 0; i < layers.size(); ++i) {
        rows.through(layers[i], n,
                     [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out) {
                       const Tensor angles = table.slice(0, 0, n);
                       ops::kv_write(ctx, {.k = k,
                                           .v = v,
                                           .table = angles,
                                           .slots = all_slots.slice(0, done, done + n),
                                           .k_pages = caches[i].first,
                                           .v_pages = caches[i].second,
                                           .q = q});
                       ops::paged_attention(ctx,
                                            {.q = q,
                                             .k_pages = caches[i].first,
                                             .v_pages = caches[i].second,
                                             .page_list = page_list,
                                             .sequences = sequences[static_cast<size_t>(c)],
                                             .max_length = n,
                                             .max_kv_length = done + n,
                                             .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
                                             .first_page = 0,
                                             .out = out});
                     });
      }
    }
    const int32_t last = (tokens - 1) % chunk;
    ops::linear(ctx, {.x = rows.x.slice(0, last, last + 1), .weight = head, .out = logits});
  });
}

// The forward pass of a compressor: `count` sequences of `source` tokens and `slots` summary
// tokens.
void compressor(CudaBench& bench, const Decoder& d, int32_t count, int32_t source, int32_t slots) {
  const std::string name =
      fmt::format("compressor {} {} x ({} + {})", d.heads.model, count, source, slots);
  if (!bench.wants(name)) {
    return;
  }
  const auto& ctx = bench.context();
  const auto [model, heads, kv_heads, dim] = d.heads;
  const std::vector<Layer> layers = random_layers(bench, d);
  const int32_t length = source + slots;
  const int64_t n = int64_t{length} * count;
  const Rows rows(bench, d, n);
  const Tensor table = bench.random(Dtype::f32, {n, dim});
  std::vector<int32_t> fields;
  for (int32_t i = 0; i < count; ++i) {
    fields.insert(fields.end(), {i * length, length, i * length, 0, 0});
  }
  const Tensor sequences = bench.ints(fields, {count, ops::kAttentionSequenceFields});
  const double flops = 2.0 * static_cast<double>(n) * layer_weights(d) * d.layers +
                       2.0 * count * length * length * static_cast<double>(heads * dim) * d.layers;
  bench.run_long(name, {.flops = flops}, static_cast<double>(source) * count, [&] {
    for (const Layer& l : layers) {
      rows.through(l, n, [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out) {
        ops::rope(ctx, {.x = q, .table = table, .out = q});
        ops::rope(ctx, {.x = k, .table = table, .out = k});
        ops::attention(ctx, {.q = q,
                             .k = k,
                             .v = v,
                             .sequences = sequences,
                             .max_length = length,
                             .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
                             .out = out,
                             .lse = {}});
      });
    }
  });
}

}  // namespace

void run_passes(CudaBench& bench) {
  prefill(bench, kLlama2Decoder, 4096, 4096);
  bench.next_group();
  prefill(bench, kLlama2Decoder, 4369, 4369);
  bench.next_group();
  prefill(bench, kLlama2Decoder, 32768, 8192);
  bench.next_group();
  prefill(bench, kLlama2Decoder, 32768, 16384);
  bench.next_group();
  prefill(bench, kLlama3Decoder, 4096, 4096);
  bench.next_group();
  prefill(bench, kSmolDecoder, 8192, 8192);
  bench.next_group();
  compressor(bench, kLlama2Decoder, 8, 1536, 50);
  bench.next_group();
  compressor(bench, kLlama3Decoder, 8, 1536, 50);
  bench.next_group();
  prefill(bench, kLlama2Decoder, 131072, 16384);
  bench.next_group();
  prefill(bench, kLlama2Decoder, 131072, 32768);
  bench.next_group();
}

}  // namespace offbook::bench
