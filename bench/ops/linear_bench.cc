// Products with a weight at the shapes of SmolLM2-135M: GFLOP/s, and GB/s of weights read.
//   build/release/bench/ops/linear_bench --benchmark_filter='linear/q4_1'
#include <random>

#include <benchmark/benchmark.h>

#include "src/base/float16.h"
#include "src/ops/cross_entropy/cross_entropy.h"
#include "src/ops/linear/linear.h"
#include "src/ops/lora/lora.h"
#include "src/ops/packed_linear/packed_linear.h"

namespace offbook::ops {
namespace {

struct Sizes {
  int64_t n;
  int64_t in;
  int64_t out;
};

// Bytes 0x21…0x3f everywhere: small finite numbers in every type, f16 scales near 0.01…1 included.
Tensor filled(Dtype dtype, const Shape& shape) {
  Tensor t = Tensor::empty(dtype, shape);
  std::minstd_rand random(1);
  for (int64_t i = 0; i < t.bytes(); ++i) {
    t.raw()[i] = static_cast<std::byte>(0x21 + random() % 0x1f);
  }
  return t;
}

class Context {
 public:
  Context(int threads, Compute compute) : pool_(threads) {
    context_ = {.backend = backend::best_cpu_backend(),
                .compute = compute,
                .pool = &pool_,
                .arena = &arena_};
  }
  const ExecutionContext& get() const { return context_; }

 private:
  backend::ThreadPool pool_;
  backend::Arena arena_;
  ExecutionContext context_;
};

void report(benchmark::State& state, double flops, int64_t bytes) {
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] =
      Counter(static_cast<double>(bytes) * 1e-9, Counter::kIsIterationInvariantRate);
}

// As many copies of the weight as exceed 64 MB, so that it comes from memory as it does in a model.
std::vector<Tensor> copies(Dtype dtype, const Sizes& s) {
  std::vector<Tensor> out(1, filled(dtype, {s.out, s.in}));
  while (s.n <= 8 && static_cast<int64_t>(out.size()) * out[0].bytes() < 64 << 20) {
    out.push_back(filled(dtype, {s.out, s.in}));
  }
  return out;
}

void run_linear(benchmark::State& state, Dtype dtype, const Sizes& s, int threads,
                Compute compute) {
  const Context ctx(threads, compute);
  const std::vector<Tensor> weights = copies(dtype, s);
  const Tensor x = filled(Dtype::f32, {s.n, s.in});
  const Tensor out = Tensor::empty(Dtype::f32, {s.n, s.out});
  size_t next = 0;
  for (auto _ : state) {
    linear(ctx.get(), {.x = x, .weight = weights[next++ % weights.size()], .out = out});
  }
  report(state, 2.0 * static_cast<double>(s.n * s.in * s.out), weights[0].bytes());
}

void run_packed(benchmark::State& state, Dtype dtype, const Sizes& s, int threads) {
  const Context ctx(threads, Compute::bf16);
  std::vector<PackedMatrix> weights;
  for (const Tensor& weight : copies(dtype, s)) {
    weights.push_back(pack_rows(*ctx.get().pool, std::array{weight}));
  }
  const Tensor x = filled(Dtype::f32, {s.n, s.in});
  const Tensor out = Tensor::empty(Dtype::f32, {s.n, s.out});
  size_t next = 0;
  for (auto _ : state) {
    packed_linear(ctx.get(), {.x = x, .matrix = &weights[next++ % weights.size()], .out = out});
  }
  report(state, 2.0 * static_cast<double>(s.n * s.in * s.out), weights[0].bytes());
}

void run_lora(benchmark::State& state, const Sizes& s, int threads) {
  const Context ctx(threads, Compute::bf16);
  const LoraFactors factors{.a = filled(Dtype::f32, {16, s.in}),
                            .b = filled(Dtype::f32, {s.out, 16})};
  const Tensor x = filled(Dtype::f32, {s.n, s.in});
  const Tensor rows = Tensor::zeros(Dtype::i32, {s.n});
  const Tensor scratch = Tensor::empty(Dtype::f32, {s.n, 16});
  const LoraPart part{.adapters = std::span(&factors, 1),
                      .out = Tensor::zeros(Dtype::f32, {s.n, s.out})};
  for (auto _ : state) {
    lora(ctx.get(),
         {.x = x, .parts = std::span(&part, 1), .adapter_of_row = rows, .scratch = scratch});
  }
  report(state, 32.0 * static_cast<double>(s.n * (s.in + s.out)),
         factors.a.bytes() + factors.b.bytes());
}

void run_backward(benchmark::State& state, const Sizes& s, int threads) {
  const Context ctx(threads, Compute::bf16);
  const Tensor weight = filled(Dtype::bf16, {s.out, s.in});
  const Tensor d_out = filled(Dtype::f32, {s.n, s.out});
  const Tensor d_x = Tensor::empty(Dtype::f32, {s.n, s.in});
  for (auto _ : state) {
    linear_backward_input(ctx.get(), {.d_out = d_out, .weight = weight, .d_x = d_x});
  }
  report(state, 2.0 * static_cast<double>(s.n * s.in * s.out), weight.bytes());
}

void run_cross_entropy(benchmark::State& state, Dtype dtype, const Sizes& s, int threads,
                       bool is_backward) {
  const Context ctx(threads, Compute::bf16);
  Tensor hidden = Tensor::zeros(Dtype::f32, {s.n, s.in});
  const LinearCrossEntropyArgs args{.hidden = hidden,
                                    .head = filled(dtype, {s.out, s.in}),
                                    .targets = Tensor::zeros(Dtype::i32, {s.n}),
                                    .losses = Tensor::empty(Dtype::f32, {s.n}),
                                    .lse = Tensor::empty(Dtype::f32, {s.n})};
  linear_cross_entropy(ctx.get(), args);
  const Tensor d_hidden = Tensor::empty(Dtype::f32, {s.n, s.in});
  for (auto _ : state) {
    if (is_backward) {
      linear_cross_entropy_backward(
          ctx.get(), {.forward = args, .d_losses = args.losses, .d_hidden = d_hidden});
    } else {
      linear_cross_entropy(ctx.get(), args);
    }
  }
  report(state, (is_backward ? 4.0 : 2.0) * static_cast<double>(s.n * s.in * s.out),
         args.head.bytes());
}

std::string name(const char* op, Dtype dtype, const Sizes& s, int threads) {
  return fmt::format("{}/{}/{}x{}x{}/threads:{}", op, dtype_info(dtype).name, s.n, s.in, s.out,
                     threads);
}

void register_shape(int64_t in, int64_t out, int threads) {
  for (const int64_t n : {1, 8, 512}) {
    const Sizes s{n, in, out};
    for (const Dtype dtype : {Dtype::q4_1, Dtype::q8_0, Dtype::bf16}) {
      benchmark::RegisterBenchmark(name("linear", dtype, s, threads).c_str(), [=](auto& state) {
        run_linear(state, dtype, s, threads, Compute::bf16);
      });
      benchmark::RegisterBenchmark(name("packed", dtype, s, threads).c_str(),
                                   [=](auto& state) { run_packed(state, dtype, s, threads); });
    }
    benchmark::RegisterBenchmark(
        name("linear_exact", Dtype::f32, s, threads).c_str(),
        [=](auto& state) { run_linear(state, Dtype::f32, s, threads, Compute::f32); });
    benchmark::RegisterBenchmark(name("lora16", Dtype::f32, s, threads).c_str(),
                                 [=](auto& state) { run_lora(state, s, threads); });
  }
  benchmark::RegisterBenchmark(name("backward_input", Dtype::bf16, {512, in, out}, threads).c_str(),
                               [=](auto& state) {
                                 run_backward(state, {512, in, out}, threads);
                               });
}

void register_all() {
  for (const int threads : {1, 2}) {
    for (const auto& [in, out] : {std::pair{576, 960}, {576, 576}, {576, 3072}, {1536, 576}}) {
      register_shape(in, out, threads);
    }
    const Sizes head{1, 576, 49152};
    benchmark::RegisterBenchmark(
        name("linear", Dtype::q8_0, head, threads).c_str(),
        [=](auto& state) { run_linear(state, Dtype::q8_0, head, threads, Compute::bf16); });
    for (const bool is_backward : {false, true}) {
      const Sizes rows{512, 576, 49152};
      benchmark::RegisterBenchmark(
          name(is_backward ? "cross_entropy_backward" : "cross_entropy", Dtype::bf16, rows, threads)
              .c_str(),
          [=](auto& state) { run_cross_entropy(state, Dtype::bf16, rows, threads, is_backward); });
    }
  }
}

}  // namespace
}  // namespace offbook::ops

int main(int argc, char** argv) {
  offbook::ops::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
