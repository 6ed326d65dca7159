#include "src/ops/cuda/reduce.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kLanes = 32;  // rows added side by side within a block
constexpr int64_t kRowsPerPart =
    512;  // rows of one block; more rows make more parts, added afterwards

// Part p of the sums: 32 columns a block, thread (c, lane) adds rows lane, lane + 32, …
template <class A>
__global__ void sum_columns(RowsOf<A> x, int64_t rows_per_part, float* parts) {
  __shared__ float sums[kLanes][33];
  const int64_t column = blockIdx.x * 32 + threadIdx.x;
  const int64_t begin = blockIdx.y * rows_per_part;
  const int64_t end = min(begin + rows_per_part, x.count);
  float sum = 0;
  if (column < x.dim) {
    for (int64_t r = begin + threadIdx.y; r < end; r += kLanes) {
      sum += x.row(r).get(column);
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < x.dim) {
    float total = 0;
    for (int i = 0; i < kLanes; ++i) {
      total += sums[i][threadIdx.x];
    }
    parts[blockIdx.y * x.dim + column] = total;
  }
}

__global__ void add_parts(const float* parts, int64_t count, int64_t dim, float alpha, float* out) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column < dim) {
    float total = 0;
    for (int64_t p = 0; p < count; ++p) {
      total += parts[p * dim + column];
    }
    out[column] += alpha * total;
  }
}

}  // namespace

void add_column_sums(const ExecutionContext& ctx, const Tensor& x, float alpha, float* out) {
  const int64_t rows = x.dim(-1) == 0 ? 0 : x.numel() / x.dim(-1);
  if (rows == 0) {
    return;
  }
  const int64_t per_part = std::max(kRowsPerPart, div_up(rows, 256));
  const int64_t parts = div_up(rows, per_part);
  backend::ArenaScope scope(*ctx.arena);
  const Tensor sums = ctx.make(Dtype::f32, {parts, x.dim(-1)});
  with_elements({&x}, [&](auto accessor) {
    using A = decltype(accessor);
    launch(ctx, "sum_columns",
           {dim3(blocks_x(div_up(x.dim(-1), 32)), static_cast<unsigned>(parts)), dim3(32, kLanes)},
           sum_columns<A>, rows_of<A>(x), per_part, sums.data<float>());
  });
  launch(ctx, "add_parts", threads_for(x.dim(-1)), add_parts, sums.data<float>(), parts, x.dim(-1),
         alpha, out);
}

}  // namespace offbook::ops::cuda
