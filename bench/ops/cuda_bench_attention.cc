// Attention over many queries and over a cache, each way there is.
#include "bench/ops/cuda_bench.h"

#include <cmath>

namespace offbook::bench {
namespace {

using ops::kPageTokens;

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

}  // namespace

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

}  // namespace offbook::bench
