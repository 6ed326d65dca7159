// What only training runs: adapters beside their matrices, gradients, the optimizer.
#include "bench/ops/cuda_bench.h"

#include <numeric>

namespace offbook::bench {
namespace {

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

}  // namespace

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
