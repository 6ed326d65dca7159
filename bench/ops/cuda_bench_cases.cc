#include "bench/ops/cuda_bench.h"

#include <cmath>
#include <numeric>

namespace offbook::bench {
namespace {

using ops::kPageTokens;

double bytes_of(const Tensor& t) {
  return static_cast<double>(t.bytes());
}
std::string short_name(Dtype dtype) {
  return std::string(dtype_info(dtype).name);
}

void product(CudaBench& bench, Dtype dtype, int64_t n, int64_t out, int64_t in) {
  const std::string name = fmt::format("linear {} n={} [{}, {}]", short_name(dtype), n, out, in);
  if (!bench.wants(name)) {
    return;
  }
  std::vector<Tensor> weights;
  do {
    weights.push_back(bench.random(dtype, {out, in}));
  } while (static_cast<int>(weights.size()) < bench.copies_for(bytes_of(weights[0])));
  const Tensor x = bench.random(Dtype::bf16, {n, in});
  const Tensor y = bench.uninitialised(Dtype::bf16, {n, out});
  bench.run(
      name,
      {.bytes = bytes_of(weights[0]) + bytes_of(x) + bytes_of(y),
       .flops = 2.0 * static_cast<double>(n) * static_cast<double>(out) * static_cast<double>(in)},
      [&](int i) {
        ops::linear(bench.context(),
                    {.x = x, .weight = weights[static_cast<size_t>(i) % weights.size()], .out = y});
      });
}

// Prints how far two ways of computing one thing are apart.
void print_difference(const std::string& what, const std::vector<float>& a,
                      const std::vector<float>& b) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  std::printf("%-58s NMSE %.3g%s\n", what.c_str(), error / norm, a == b ? ", the same bits" : "");
}

struct Choice {
  const char* name;
  backend::KernelChoice choice;
};
constexpr Choice kChoices[] = {
    {"", {}},
    {" tables", {.dense = false}},
    {" not repeatable", {.repeatable = false}},
    {" not repeatable, tables", {.dense = false, .repeatable = false}},
    {" own kernels", {.cudnn = false}},
};

void attention_case(CudaBench& bench, const Heads& h, int32_t length, int32_t count) {
  const std::string name = fmt::format("attention {} {} x {}", h.model, count, length);
  if (!bench.wants(name)) {
    return;
  }
  const int64_t n = int64_t{length} * count;
  const Shape q_shape{n, h.heads, h.dim};
  const Shape k_shape{n, h.kv_heads, h.dim};
  std::vector<int32_t> table;
  for (int32_t i = 0; i < count; ++i) {
    table.insert(table.end(), {i * length, length, i * length, 0, 0});
  }
  const ops::AttentionArgs a{.q = bench.random(Dtype::bf16, q_shape),
                             .k = bench.random(Dtype::bf16, k_shape),
                             .v = bench.random(Dtype::bf16, k_shape),
                             .sequences = bench.ints(table, {count, ops::kAttentionSequenceFields}),
                             .max_length = length,
                             .scale = 1.0f / std::sqrt(static_cast<float>(h.dim)),
                             .out = bench.uninitialised(Dtype::bf16, q_shape),
                             .lse = bench.uninitialised(Dtype::f32, {n, h.heads})};
  const double flops = 2.0 * length * length * static_cast<double>(h.heads * h.dim) * count;
  const ops::AttentionBackwardArgs b{.forward = a,
                                     .d_out = bench.random(Dtype::bf16, q_shape),
                                     .d_q = bench.uninitialised(Dtype::bf16, q_shape),
                                     .d_k = bench.uninitialised(Dtype::bf16, k_shape),
                                     .d_v = bench.uninitialised(Dtype::bf16, k_shape),
                                     .write_q = ops::Write::overwrite,
                                     .write_k = ops::Write::overwrite,
                                     .write_v = ops::Write::overwrite};
  for (const auto& [choice_name, choice] : kChoices) {
    bench.context().cuda->choice = choice;
    if (choice.repeatable) {
      bench.run(name + choice_name + " forward", {.flops = flops},
                [&](int) { ops::attention(bench.context(), a); });
    } else {
      ops::attention(bench.context(), a);
    }
    bench.run(name + choice_name + " backward", {.flops = 2.5 * flops},
              [&](int) { ops::attention_backward(bench.context(), b); });
  }
  const auto gradient = [&](const backend::KernelChoice& choice) {
    bench.context().cuda->choice = choice;
    ops::attention_backward(bench.context(), b);
    return bench.values(b.d_k);
  };
  if (length >= 16384) {  // heads in parts
    print_difference(name + " backward, d_k repeatable against not", gradient({}),
                     gradient({.repeatable = false}));
  }
  bench.context().cuda->choice = {};
}

// Texts that windows' memories stand before, as a step of beacon training reads them: of each of 16
// windows one of 512 tokens and four of 128 behind the window's 200 slots, forward and backward.
void reading_case(CudaBench& bench) {
  const Heads& h = kSmol;
  const std::string name = "attention SmolLM2 80 texts behind 16 memories";
  if (!bench.wants(name)) {
    return;
  }
  constexpr int32_t kWindows = 16;
  constexpr int32_t kSlots = 200;
  constexpr int32_t kLong = 512;
  constexpr int32_t kShort = 128;
  std::vector<int32_t> table;
  int32_t n = 0;
  double seen = 0;
  for (int32_t w = 0; w < kWindows; ++w) {
    for (const int32_t length : {kLong, kShort, kShort, kShort, kShort}) {
      table.insert(table.end(), {n, length, kWindows * kSlots + n, w * kSlots, kSlots});
      n += length;
      seen += length * (kSlots + length / 2.0);
    }
  }
  const Shape q_shape{n, h.heads, h.dim};
  const Shape k_shape{kWindows * kSlots + n, h.kv_heads, h.dim};
  const ops::AttentionArgs a{
      .q = bench.random(Dtype::bf16, q_shape),
      .k = bench.random(Dtype::bf16, k_shape),
      .v = bench.random(Dtype::bf16, k_shape),
      .sequences = bench.ints(table, {5 * kWindows, ops::kAttentionSequenceFields}),
      .max_length = kLong,
      .max_prefix = kSlots,
      .scale = 1.0f / std::sqrt(static_cast<float>(h.dim)),
      .out = bench.uninitialised(Dtype::bf16, q_shape),
      .lse = bench.uninitialised(Dtype::f32, {n, h.heads})};
  const double flops = 4.0 * seen * static_cast<double>(h.heads * h.dim);
  ops::AttentionBackwardArgs b{.forward = a,
                               .d_out = bench.random(Dtype::bf16, q_shape),
                               .d_q = bench.random(Dtype::bf16, q_shape),
                               .d_k = bench.random(Dtype::bf16, k_shape),
                               .d_v = bench.random(Dtype::bf16, k_shape)};
  for (const auto& [choice_name, choice] : kChoices) {
    if (!choice.dense) {
      continue;
    }
    bench.context().cuda->choice = choice;
    bench.run(name + choice_name + " forward", {.flops = flops},
              [&](int) { ops::attention(bench.context(), a); });
    b.write_q = b.write_k = b.write_v = ops::Write::accumulate;
    bench.run(name + choice_name + " backward, added", {.flops = 2.5 * flops},
              [&](int) { ops::attention_backward(bench.context(), b); });
    b.write_q = b.write_k = b.write_v = ops::Write::overwrite;
    bench.run(name + choice_name + " backward", {.flops = 2.5 * flops},
              [&](int) { ops::attention_backward(bench.context(), b); });
  }
  bench.context().cuda->choice = {};
}

// `rows` sequences with `kept` tokens each in the cache, `length` of which are queries.
void paged_case(CudaBench& bench, const Heads& h, int32_t rows, int32_t length, int32_t kept) {
  const std::string name =
      fmt::format("paged_attention {} {} x {} of {}", h.model, rows, length, kept);
  if (!bench.wants(name)) {
    return;
  }
  const int32_t pages =
      (kept + static_cast<int32_t>(kPageTokens) - 1) / static_cast<int32_t>(kPageTokens);
  const Shape cache{int64_t{pages} * rows, kPageTokens, h.kv_heads, h.dim};
  std::vector<int32_t> list(static_cast<size_t>(pages) * static_cast<size_t>(rows));
  for (size_t i = 0; i < list.size(); ++i) {  // neighbours in a sequence lie far apart
    list[i] = static_cast<int32_t>((i * 7919) % list.size());
  }
  std::vector<int32_t> table;
  for (int32_t i = 0; i < rows; ++i) {
    table.insert(table.end(), {i * length, length, kept, i * pages});
  }
  const Shape q_shape{int64_t{rows} * length, h.heads, h.dim};
  const double kv_bytes = 4.0 * rows * kept * static_cast<double>(h.kv_heads * h.dim);
  std::vector<std::pair<Tensor, Tensor>> caches;
  const int copies = length == 1 ? bench.copies_for(kv_bytes) : 1;
  for (int i = 0; i < copies; ++i) {
    caches.emplace_back(bench.random(Dtype::bf16, cache), bench.random(Dtype::bf16, cache));
  }
  ops::PagedAttentionArgs a{.q = bench.random(Dtype::bf16, q_shape),
                            .k_pages = {},
                            .v_pages = {},
                            .page_list = bench.ints(list, {static_cast<int64_t>(list.size())}),
                            .sequences = bench.ints(table, {rows, ops::kPagedSequenceFields}),
                            .max_length = length,
                            .max_kv_length = kept,
                            .scale = 1.0f / std::sqrt(static_cast<float>(h.dim)),
                            .out = bench.uninitialised(Dtype::bf16, q_shape)};
  const double seen = length == 1 ? kept : kept - length / 2.0;
  const CudaBench::Work work{
      .bytes = kv_bytes,
      .flops = 4.0 * rows * length * seen * static_cast<double>(h.heads * h.dim)};
  const auto body = [&](int i) {
    const auto& [k, v] = caches[static_cast<size_t>(i) % caches.size()];
    a.k_pages = k;
    a.v_pages = v;
    ops::paged_attention(bench.context(), a);
  };
  bench.run(name, work, body);
  const auto result = [&](const backend::KernelChoice& choice) {
    bench.context().cuda->choice = choice;
    body(0);
    return bench.values(a.out);
  };
  if (length > 1) {
    constexpr backend::KernelChoice kOwn{.cudnn = false};
    print_difference(name + ", both ways", result({}), result(kOwn));
    bench.context().cuda->choice = kOwn;
    bench.run(name + " own kernels", work, body);
    bench.context().cuda->choice = {};
  }
}

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

void run_products(CudaBench& bench) {
  for (const Dtype dtype : {Dtype::bf16, Dtype::q8_0, Dtype::q4_1, Dtype::q4_0, Dtype::q6_k}) {
    for (const int64_t n : {1, 4, 8}) {
      product(bench, dtype, n, 4096, 4096);
      product(bench, dtype, n, 11008, 4096);
      product(bench, dtype, n, 4096, 11008);
    }
  }
  for (const Dtype dtype : {Dtype::bf16, Dtype::q4_1}) {
    product(bench, dtype, 1, 12288, 4096);
    product(bench, dtype, 1, 22016, 4096);
    product(bench, dtype, 1, 28672, 4096);
    product(bench, dtype, 1, 4096, 14336);
    product(bench, dtype, 1, 32000, 4096);
    product(bench, dtype, 1, 128256, 4096);
    product(bench, dtype, 1, 576, 576);
    product(bench, dtype, 1, 1536, 576);
    product(bench, dtype, 1, 576, 1536);
    product(bench, dtype, 1, 49152, 576);
  }
  for (const int64_t n : {16, 64, 512, 4096}) {
    product(bench, Dtype::bf16, n, 4096, 4096);
    product(bench, Dtype::bf16, n, 11008, 4096);
    product(bench, Dtype::bf16, n, 4096, 11008);
    product(bench, Dtype::q4_1, n, 11008, 4096);
  }
  product(bench, Dtype::bf16, 32768, 576, 576);
  product(bench, Dtype::bf16, 32768, 1536, 576);
  product(bench, Dtype::bf16, 32768, 576, 1536);
}

void run_attention(CudaBench& bench) {
  attention_case(bench, kLlama2, 4096, 1);
  attention_case(bench, kLlama2, 16384, 1);
  attention_case(bench, kLlama2, 1586, 8);
  attention_case(bench, kLlama3, 4096, 1);
  attention_case(bench, kSmol, 2048, 16);
  reading_case(bench);
  paged_case(bench, kLlama2, 1, 4096, 4096);
  paged_case(bench, kLlama3, 1, 4096, 4096);
  paged_case(bench, kLlama2, 1, 4096, 32768);
  paged_case(bench, kSmol, 1, 8192, 8192);
}

void run_decode_attention(CudaBench& bench) {
  for (const int32_t kept : {512, 4096, 32768, 131072}) {
    paged_case(bench, kLlama2, 1, 1, kept);
    paged_case(bench, kLlama3, 1, 1, kept);
  }
  paged_case(bench, kSmol, 1, 1, 8192);
  paged_case(bench, kLlama2, 48, 1, 4369);
  paged_case(bench, kLlama3, 64, 1, 4369);
}

void run_elementwise(CudaBench& bench) {
  auto& ctx = bench.context();
  const auto rows = [&](int64_t n, int64_t dim) {
    const Tensor x = bench.random(Dtype::bf16, {n, dim});
    const Tensor y = bench.random(Dtype::bf16, {n, dim});
    const Tensor z = bench.uninitialised(Dtype::bf16, {n, dim});
    const Tensor w = bench.random(Dtype::bf16, {dim});
    const Tensor d_w = bench.random(Dtype::f32, {dim});
    const double bytes = bytes_of(x);
    const std::string shape = fmt::format(" [{}, {}]", n, dim);
    bench.run("rms_norm" + shape, {.bytes = 2 * bytes},
              [&](int) { ops::rms_norm(ctx, {.x = x, .weight = w, .out = z}); });
    bench.run("rms_norm_backward" + shape, {.bytes = 3 * bytes}, [&](int) {
      ops::rms_norm_backward(ctx, {.x = x, .weight = w, .d_out = y, .d_x = z});
    });
    bench.run("rms_norm_backward with d_weight" + shape, {.bytes = 5 * bytes}, [&](int) {
      ops::rms_norm_backward(ctx, {.x = x, .weight = w, .d_out = y, .d_x = z, .d_weight = d_w});
    });
    bench.run("add" + shape, {.bytes = 3 * bytes},
              [&](int) { ops::add(ctx, {.a = x, .b = y, .out = z}); });
    bench.run("swiglu" + shape, {.bytes = 3 * bytes},
              [&](int) { ops::swiglu(ctx, {.gate = x, .up = y, .out = z}); });
  };
  rows(1, 4096);
  rows(32768, 576);
  rows(32768, 4096);
  const int64_t n = 32768;
  const Tensor q = bench.random(Dtype::bf16, {n, 32, 128});
  const Tensor table = bench.random(Dtype::f32, {n, 128});
  bench.run("rope [32768, 32, 128]", {.bytes = 2 * bytes_of(q) + bytes_of(table)},
            [&](int) { ops::rope(ctx, {.x = q, .table = table, .out = q}); });
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(i);
  }
  const Tensor slots = bench.ints(ids, {n});
  const Tensor k_pages = bench.uninitialised(Dtype::bf16, {n / kPageTokens, kPageTokens, 32, 128});
  const Tensor v_pages = bench.uninitialised(Dtype::bf16, {n / kPageTokens, kPageTokens, 32, 128});
  bench.run("kv_write [32768, 32, 128]", {.bytes = 4 * bytes_of(q) + bytes_of(table)}, [&](int) {
    ops::kv_write(
        ctx,
        {.k = q, .v = q, .table = table, .slots = slots, .k_pages = k_pages, .v_pages = v_pages});
  });
  const Tensor embeddings = bench.random(Dtype::bf16, {49152, 4096});
  const Tensor out = bench.uninitialised(Dtype::bf16, {n, 4096});
  bench.run("embedding bf16 [32768 of 49152, 4096]", {.bytes = 2 * bytes_of(out)},
            [&](int) { ops::embedding(ctx, {.ids = slots, .table = embeddings, .out = out}); });
  for (const auto& [count, vocab] :
       {std::pair{1, 32000}, std::pair{1, 128256}, std::pair{64, 128256}}) {
    const Tensor logits = bench.random(Dtype::f32, {count, vocab});
    const Tensor best = bench.uninitialised(Dtype::i32, {count});
    bench.run(fmt::format("argmax f32 [{}, {}]", count, vocab), {.bytes = bytes_of(logits)},
              [&](int) { ops::argmax(ctx, {.x = logits, .out = best}); });
  }
  const Tensor quantised = bench.random(Dtype::q4_1, {32000, 4096});
  const Tensor plain = bench.uninitialised(Dtype::bf16, {32000, 4096});
  bench.run("dequantize q4_1 to bf16 [32000, 4096]",
            {.bytes = bytes_of(quantised) + bytes_of(plain)},
            [&](int) { ops::dequantize(ctx, {.x = quantised, .out = plain}); });
}

// Matrices of one input with a LoRA of rank 64 on each, over the rows of a training pass: products
// of their own that add, or columns of the same product.
void lora_case(CudaBench& bench, const std::vector<int64_t>& widths, int64_t in) {
  constexpr int64_t kRows = 16384;
  constexpr int64_t kRank = 64;
  const auto& ctx = bench.context();
  const std::string name =
      fmt::format("lora training [{}, {}] rank {}", fmt::join(widths, "+"), in, kRank);
  if (!bench.wants(name)) {
    return;
  }
  const int64_t out = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  const int64_t rank = kRank * static_cast<int64_t>(widths.size());
  const Tensor xl = bench.random(Dtype::bf16, {kRows, in + rank});
  const Tensor d_xl = bench.random(Dtype::bf16, {kRows, in + rank});
  const Tensor x = xl.slice(1, 0, in);
  const Tensor low = xl.slice(1, in, in + rank);
  const Tensor d_x = d_xl.slice(1, 0, in);
  const Tensor d_low = d_xl.slice(1, in, in + rank);
  const Tensor y = bench.random(Dtype::bf16, {kRows, out});
  const Tensor w = bench.random(Dtype::bf16, {out, in});
  const Tensor wide = bench.random(Dtype::bf16, {out, in + rank});
  const Tensor a = bench.random(Dtype::bf16, {rank, in});
  const Tensor a32 = bench.random(Dtype::f32, {rank, in});
  const Tensor b32 = bench.random(Dtype::f32, {out, kRank});
  const Tensor g = bench.random(Dtype::f32, {out, kRank});
  const Tensor g_a = bench.random(Dtype::f32, {rank, in});
  const auto n = static_cast<double>(kRows);
  const double flops = 2 * n * static_cast<double>(out * (in + kRank) + rank * in);
  // Calls fn(columns of y, of the low ones, rows of b) for each matrix.
  const auto each = [&](const auto& fn) {
    int64_t at = 0;
    int64_t r = 0;
    for (const int64_t width : widths) {
      fn(y.slice(1, at, at + width), r, b32.slice(0, at, at + width), g.slice(0, at, at + width));
      at += width;
      r += kRank;
    }
  };
  bench.run(name + " forward, added", {.flops = flops}, [&](int) {
    ops::linear(ctx, {.x = x, .weight = w, .out = y});
    ops::linear(ctx, {.x = x, .weight = a32, .out = low});
    each([&](const Tensor& to, int64_t r, const Tensor& b, const Tensor&) {
      ops::linear(ctx, {.x = low.slice(1, r, r + kRank),
                        .weight = b,
                        .alpha = 2,
                        .write = ops::Write::accumulate,
                        .out = to});
    });
  });
  bench.run(name + " forward, in columns", {.flops = flops}, [&](int) {
    ops::linear(ctx, {.x = x, .weight = a, .out = low});
    ops::linear(ctx, {.x = xl, .weight = wide, .out = y});
  });
  const auto to_b = [&](const Tensor& d_y, int64_t r, const Tensor&, const Tensor& d_b) {
    ops::linear_backward_weight(
        ctx, {.x = low.slice(1, r, r + kRank), .d_out = d_y, .alpha = 2, .d_weight = d_b});
  };
  bench.run(name + " backward, added", {.flops = 2 * flops}, [&](int) {
    ops::linear_backward_input(ctx, {.d_out = y, .weight = w, .d_x = d_x});
    each([&](const Tensor& d_y, int64_t r, const Tensor& b, const Tensor& d_b) {
      ops::linear_backward_input(
          ctx, {.d_out = d_y, .weight = b, .alpha = 2, .d_x = d_low.slice(1, r, r + kRank)});
      to_b(d_y, r, b, d_b);
    });
    ops::linear_backward_input(
        ctx, {.d_out = d_low, .weight = a32, .write = ops::Write::accumulate, .d_x = d_x});
    ops::linear_backward_weight(ctx, {.x = x, .d_out = d_low, .d_weight = g_a});
  });
  bench.run(name + " backward, in columns", {.flops = 2 * flops}, [&](int) {
    ops::linear_backward_input(ctx, {.d_out = y, .weight = wide, .d_x = d_xl});
    each(to_b);
    ops::linear_backward_input(
        ctx, {.d_out = d_low, .weight = a, .write = ops::Write::accumulate, .d_x = d_x});
    ops::linear_backward_weight(ctx, {.x = x, .d_out = d_low, .d_weight = g_a});
  });
  bench.run(name + " backward, of factors alone",
            {.flops = 2 * n * 64 * static_cast<double>(out + in)}, [&](int) {
              each(to_b);
              ops::linear_backward_weight(ctx, {.x = x, .d_out = d_low, .d_weight = g_a});
            });
}

void run_training(CudaBench& bench) {
  auto& ctx = bench.context();
  lora_case(bench, {576, 192, 192}, 576);
  lora_case(bench, {576}, 576);
  lora_case(bench, {1536, 1536}, 576);
  lora_case(bench, {576}, 1536);
  const int64_t parameters = 134515008;
  {
    const Tensor p = bench.random(Dtype::f32, {parameters});
    const Tensor g = bench.random(Dtype::f32, {parameters});
    const Tensor m = bench.random(Dtype::f32, {parameters});
    const Tensor v = bench.random(Dtype::f32, {parameters});
    const Tensor copy = bench.uninitialised(Dtype::bf16, {parameters});
    bench.run("adamw 134.5 M", {.bytes = 30.0 * static_cast<double>(parameters)}, [&](int) {
      ops::adamw(ctx, {.param = p, .grad = g, .m = m, .v = v, .lr = 1e-4f, .copy = copy});
    });
    const Tensor sum = bench.random(Dtype::f32, {1});
    bench.run("sum_squares f32 134.5 M", {.bytes = 4.0 * static_cast<double>(parameters)},
              [&](int) { ops::sum_squares(ctx, {.x = g, .out = sum}); });
  }
  const auto losses = [&](const char* model, int64_t n, int64_t dim, int64_t vocab,
                          bool trains_head) {
    const std::string name =
        fmt::format("linear_cross_entropy {} [{}, {}] x [{}]", model, n, dim, vocab);
    if (!bench.wants(name)) {
      return;
    }
    std::vector<int32_t> targets(static_cast<size_t>(n));
    for (size_t i = 0; i < targets.size(); ++i) {
      targets[i] = static_cast<int32_t>(i * 7919 % static_cast<size_t>(vocab));
    }
    const ops::LinearCrossEntropyArgs f{.hidden = bench.random(Dtype::bf16, {n, dim}),
                                        .head = bench.random(Dtype::bf16, {vocab, dim}),
                                        .targets = bench.ints(targets, {n}),
                                        .losses = bench.uninitialised(Dtype::f32, {n}),
                                        .lse = bench.uninitialised(Dtype::f32, {n})};
    const double flops =
        2.0 * static_cast<double>(n) * static_cast<double>(dim) * static_cast<double>(vocab);
    const ops::LinearCrossEntropyBackwardArgs b{
        .forward = f,
        .d_losses = bench.random(Dtype::f32, {n}),
        .d_hidden = bench.uninitialised(Dtype::bf16, {n, dim}),
        .d_head = trains_head ? bench.random(Dtype::f32, {vocab, dim}) : Tensor()};
    for (const bool registers : {true, false}) {
      ctx.cuda->choice.logits_in_registers = registers;
      const std::string how = registers ? "" : " logits in memory";
      bench.run(name + how + " forward", {.flops = flops},
                [&](int) { ops::linear_cross_entropy(ctx, f); });
      bench.run(name + how + " backward", {.flops = (trains_head ? 3 : 2) * flops},
                [&](int) { ops::linear_cross_entropy_backward(ctx, b); });
    }
    ctx.cuda->choice = {};
  };
  losses("SmolLM2", 32768, 576, 49152, true);
  losses("LLaMA2-7B", 4096, 4096, 32000, false);
  const int64_t rows = 48;
  std::vector<ops::LoraFactors> adapters;
  std::vector<int32_t> of_row;
  for (int i = 0; i < 16; ++i) {
    adapters.push_back(
        {.a = bench.random(Dtype::bf16, {8, 4096}), .b = bench.random(Dtype::bf16, {4096, 8})});
  }
  for (int i = 0; i < rows; ++i) {
    of_row.push_back(i % 16);
  }
  const Tensor x = bench.random(Dtype::bf16, {rows, 4096});
  const Tensor y = bench.random(Dtype::bf16, {rows, 4096});
  const Tensor scratch = bench.uninitialised(Dtype::f32, {rows, 8});
  const Tensor index = bench.ints(of_row, {rows});
  bench.run(
      "lora 48 rows, 16 adapters of rank 8 [4096, 4096]",
      {.bytes = 16 * 2 * 8 * 4096 * 2.0 + 3 * bytes_of(x)}, [&](int) {
        const ops::LoraPart part{.adapters = adapters, .out = y};
        ops::lora(
            ctx,
            {.x = x, .parts = std::span(&part, 1), .adapter_of_row = index, .scratch = scratch});
      });
  const Tensor wide = bench.random(Dtype::bf16, {4096, 4096});
  const Tensor d_out = bench.random(Dtype::bf16, {4096, 4096});
  const Tensor d_weight = bench.random(Dtype::f32, {4096, 4096});
  const Tensor d_x = bench.uninitialised(Dtype::bf16, {4096, 4096});
  const double flops = 2.0 * 4096.0 * 4096.0 * 4096.0;
  bench.run("linear_backward_input 4096 [4096, 4096]", {.flops = flops}, [&](int) {
    ops::linear_backward_input(ctx, {.d_out = d_out, .weight = wide, .d_x = d_x});
  });
  bench.run("linear_backward_weight 4096 [4096, 4096]", {.flops = flops}, [&](int) {
    ops::linear_backward_weight(ctx, {.x = wide, .d_out = d_out, .d_weight = d_weight});
  });
}

}  // namespace offbook::bench
