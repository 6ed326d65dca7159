// Attention at the shapes of SmolLM2-135M (9 query heads, 3 key heads, head size 64).
// GFLOP/s: 4 · dim operations (10 · dim in the gradient) for each pair of a query row and a key it
// sees, over the CPU time of one thread. rows: sequences of one query each; 0 is prefill.
#include <random>

#include <benchmark/benchmark.h>

#include "src/base/float16.h"
#include "src/ops/attention/attention.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::ops {
namespace {

constexpr int64_t kHeads = 9;
constexpr int64_t kKvHeads = 3;
constexpr int64_t kDim = 64;

Tensor random(Dtype dtype, const Shape& shape) {
  const Tensor out = Tensor::empty(dtype, shape);
  std::minstd_rand engine(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int64_t i = 0; i < out.numel(); ++i) {
    if (dtype == Dtype::f32) {
      out.data<float>()[i] = uniform(engine);
    } else {
      out.data<Bf16>()[i] = to_bf16(uniform(engine));
    }
  }
  return out;
}

Tensor ints(const std::vector<int32_t>& values, const Shape& shape) {
  const Tensor out = Tensor::empty(Dtype::i32, shape);
  std::copy(values.begin(), values.end(), out.data<int32_t>());
  return out;
}

struct Machine {
  backend::ThreadPool pool{1};
  backend::Arena arena;
  ExecutionContext ctx{.backend = backend::best_cpu_backend(), .pool = &pool, .arena = &arena};
};

// Query rows times keys they see, over all heads.
void count(benchmark::State& state, double pairs, double flops_per_pair) {
  state.counters["GFLOP/s"] = benchmark::Counter(pairs * flops_per_pair * 1e-9,
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

Dtype dtype_of(const benchmark::State& state) {
  return state.range(2) == 16 ? Dtype::bf16 : Dtype::f32;
}

// range: keys, rows, bits of an element of the cache, bits of a factor
void paged(benchmark::State& state) {
  const auto keys = static_cast<int32_t>(state.range(0));
  const auto rows = static_cast<int32_t>(state.range(1));
  const bool is_prefill = rows == 0;
  const int32_t sequences = is_prefill ? 1 : rows;
  const int32_t queries = is_prefill ? keys : rows;
  const int32_t pages = keys / kPageTokens;
  std::vector<int32_t> table;
  std::vector<int32_t> list;
  for (int32_t i = 0; i < sequences; ++i) {
    table.insert(table.end(), {i, is_prefill ? keys : 1, keys, i * pages});
    for (int32_t page = 0; page < pages; ++page) {
      list.push_back(page * sequences + i);
    }
  }
  Machine machine;
  const Dtype dtype = dtype_of(state);
  machine.ctx.compute = state.range(3) == 16 ? Compute::bf16 : Compute::f32;
  // As many layers as no cache keeps.
  constexpr int64_t kBytes = int64_t{128} << 20;
  const Shape cache{pages * sequences, kPageTokens, kKvHeads, kDim};
  const int64_t layers =
      is_prefill ? 1 : std::min<int64_t>(64, 1 + kBytes / 2 / dtype_bytes(dtype, cache.numel()));
  std::vector<Tensor> keys_of_layers;
  std::vector<Tensor> values_of_layers;
  for (int64_t i = 0; i < layers; ++i) {
    keys_of_layers.push_back(random(dtype, cache));
    values_of_layers.push_back(random(dtype, cache));
  }
  PagedAttentionArgs args{.q = random(Dtype::f32, {queries, kHeads, kDim}),
                          .page_list = ints(list, {static_cast<int64_t>(list.size())}),
                          .sequences = ints(table, {sequences, kPagedSequenceFields}),
                          .max_length = is_prefill ? keys : 1,
                          .max_kv_length = keys,
                          .scale = 0.125f,
                          .out = Tensor::empty(Dtype::f32, {queries, kHeads, kDim})};
  size_t layer = 0;
  for (auto _ : state) {
    args.k_pages = keys_of_layers[layer];
    args.v_pages = values_of_layers[layer];
    layer = (layer + 1) % keys_of_layers.size();
    paged_attention(machine.ctx, args);
  }
  const double seen = is_prefill ? 0.5 * keys * (keys + 1.0) : 1.0 * keys * rows;
  count(state, seen * kHeads, 4 * kDim);
}

// range: tokens, unused, bits
void gradient(benchmark::State& state) {
  const auto tokens = static_cast<int32_t>(state.range(0));
  Machine machine;
  const Dtype dtype = dtype_of(state);
  const Shape q{tokens, kHeads, kDim};
  const Shape k{tokens, kKvHeads, kDim};
  const AttentionBackwardArgs args{
      .forward = {.q = random(dtype, q),
                  .k = random(dtype, k),
                  .v = random(dtype, k),
                  .sequences = ints({0, tokens, 0, 0, 0}, {1, kAttentionSequenceFields}),
                  .max_length = tokens,
                  .scale = 0.125f,
                  .out = Tensor::empty(dtype, q),
                  .lse = Tensor::empty(Dtype::f32, {tokens, kHeads})},
      .d_out = random(dtype, q),
      .d_q = Tensor::zeros(Dtype::f32, q),
      .d_k = Tensor::zeros(Dtype::f32, k),
      .d_v = Tensor::zeros(Dtype::f32, k)};
  attention(machine.ctx, args.forward);
  for (auto _ : state) {
    attention_backward(machine.ctx, args);
  }
  count(state, 0.5 * tokens * (tokens + 1.0) * kHeads, 10 * kDim);
}

BENCHMARK(paged)
    ->ArgNames({"keys", "rows", "bits", "factors"})
    ->ArgsProduct({{512, 2048}, {0}, {32, 16}, {32, 16}})
    ->ArgsProduct({{512, 4096}, {1, 8}, {32, 16}, {32, 16}});
BENCHMARK(gradient)->ArgNames({"tokens", "", "bits"})->ArgsProduct({{512, 2048}, {0}, {32, 16}});

}  // namespace
}  // namespace offbook::ops

BENCHMARK_MAIN();
