#include "src/ops/cuda/weights.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

__global__ void dequantize_groups(WeightRows x, int64_t groups, RowsOf<Any> out) {
  const int64_t work = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t r = work / (groups * 4);
  if (r >= x.rows) {
    return;
  }
  const int64_t group = work / 4 % groups;
  const int t = static_cast<int>(work % 4);
  float v[8];
  x.get8(r, group, t, v);
  store_group(out, out.row(r), x.splits(), group, t, v);
}

}  // namespace

void dequantize(const ExecutionContext& ctx, const DequantizeArgs& a) {
  const int64_t groups = div_up(a.x.dim(1), kGroup);
  launch(ctx, "dequantize", threads_for(a.x.dim(0) * groups * 4), dequantize_groups,
         weight_rows(a.x), groups, rows_of<Any>(a.out));
}

}  // namespace offbook::ops::cuda
