#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 8;

// A warp for each row: BERT's are 384…1024 wide. The mean comes first, then squares of differences
// from it, so that nothing cancels.
template <class A>
__global__ void layer_norm_rows(RowsOf<A> x, RowsOf<A> residual, const float* weight,
                                const float* bias, float eps, RowsOf<A> out) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (r >= x.count) {
    return;
  }
  const bool adds = residual.count > 0;
  const A row = x.row(r);
  const A extra = adds ? residual.row(r) : row;
  const int64_t lane = threadIdx.x % 32;
  const auto value = [&](int64_t i) { return row.get(i) + (adds ? extra.get(i) : 0.0f); };
  float sum = 0;
  for (int64_t i = lane; i < x.dim; i += 32) {
    sum += value(i);
  }
  const float mean = warp_sum(sum) / static_cast<float>(x.dim);
  float squares = 0;
  for (int64_t i = lane; i < x.dim; i += 32) {
    const float d = value(i) - mean;
    squares += d * d;
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(x.dim) + eps);
  const A to = out.row(r);
  for (int64_t i = lane; i < x.dim; i += 32) {
    to.set(i, (value(i) - mean) * scale * weight[i] + bias[i]);
  }
}

}  // namespace

void layer_norm(const ExecutionContext& ctx, const LayerNormArgs& a) {
  with_elements({&a.x, &a.residual, &a.out}, [&](auto accessor) {
    using A = decltype(accessor);
    const RowsOf<A> x = rows_of<A>(a.x);
    const RowsOf<A> residual = a.residual.defined() ? rows_of<A>(a.residual) : RowsOf<A>{};
    launch(ctx, "layer_norm", {dim3(blocks_x(div_up(x.count, kWarps))), dim3(32 * kWarps)},
           layer_norm_rows<A>, x, residual, a.weight.data<float>(), a.bias.data<float>(), a.eps,
           rows_of<A>(a.out));
  });
}

}  // namespace offbook::ops::cuda
