// Products with a weight, of one row to many.
#include "bench/ops/cuda_bench.h"

namespace offbook::bench {
namespace {

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

}  // namespace

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

}  // namespace offbook::bench
