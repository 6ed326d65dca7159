// Operations that move or change elements one by one.
#include "bench/ops/cuda_bench.h"

namespace offbook::bench {

using ops::kPageTokens;

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

}  // namespace offbook::bench
