#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int kBlock = 128;

// [n, …rest] as [n, rest]; the rest is contiguous.
RowsOf<Any> flat_rows(const Tensor& t) {
  const int64_t rest = t.dim(0) == 0 ? 0 : t.numel() / t.dim(0);
  RowsOf<Any> out{elements<Any>(t), t.dim(0), rest, 1, t.stride(0), 0, false};
  const auto size = dtype_bytes(t.dtype(), 1);
  out.aligned = rest % 8 == 0 && reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0 &&
                out.outer_stride * size % 16 == 0;
  return out;
}

__device__ void move_row(const RowsOf<Any>& x, int64_t from, const RowsOf<Any>& out, int64_t to,
                         bool accumulate) {
  const Any source = x.row(from);
  const Any target = out.row(to);
  for (int64_t i = threadIdx.x * 8; i < x.dim; i += kBlock * 8) {
    float v[8];
    x.get8(source, i, v);
    if (accumulate) {
      float before[8];
      out.get8(target, i, before);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        v[j] += before[j];
      }
    }
    out.set8(target, i, v);
  }
}

__global__ void gather(RowsOf<Any> x, const int32_t* index, RowsOf<Any> out, bool accumulate) {
  const int32_t from = index[blockIdx.x];
  if (from >= 0 && from < x.count) {
    move_row(x, from, out, blockIdx.x, accumulate);
  }
}

__global__ void scatter(RowsOf<Any> x, const int32_t* index, RowsOf<Any> out, bool accumulate) {
  const int32_t to = index[blockIdx.x];
  if (to >= 0 && to < out.count) {
    move_row(x, blockIdx.x, out, to, accumulate);
  }
}

constexpr int kListed =
    16;  // places of one row that are remembered; memories repeat slots 3 to 6 times

// How often each row is named, and where, in no order.
__global__ void list_places(const int32_t* index, int64_t n, int64_t rows, int32_t* counts,
                            int32_t* places) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n && index[i] >= 0 && index[i] < rows) {
    const int64_t row = index[i];
    const int32_t before = atomicAdd(counts + row, 1);
    if (before < kListed) {
      places[row * kListed + before] = static_cast<int32_t>(i);
    }
  }
}

// The place that follows `after` in a list of few, or −1.
__device__ int64_t next_place(const int32_t* list, int32_t count, int64_t after) {
  int64_t found = INT64_MAX;
  for (int i = 0; i < count; ++i) {
    found = list[i] > after ? min(found, static_cast<int64_t>(list[i])) : found;
  }
  return found == INT64_MAX ? -1 : found;
}

// The row of x at each of `count` places, in their order, onto sums of eight columns a thread.
__device__ void add_places(const RowsOf<Any>& x, const int32_t* list, int count, int64_t column,
                           float (&sum)[8]) {
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    float v[8];
    x.get8(x.row(list[i]), column, v);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      sum[k] += v[k];
    }
  }
}

constexpr int kPlacesEach = 4;
constexpr int kPlacesAtOnce = kPlacesEach * kBlock;

// Places from `base` on, kPlacesAtOnce of them, where `row` is named, in order, to `found`; returns
// how many. By whole blocks.
__device__ int find_places(const int32_t* index, int64_t n, int64_t base, int32_t row,
                           int32_t (&found)[kPlacesAtOnce]) {
  __shared__ int of_warp[kBlock / 32];
  const int64_t first = base + threadIdx.x * kPlacesEach;
  unsigned named = 0;
#pragma unroll
  for (int i = 0; i < kPlacesEach; ++i) {
    named |= first + i < n && index[first + i] == row ? 1u << i : 0u;
  }
  const int mine = __popc(named);
  int up_to = mine;  // of the warp, this thread's own included
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, up_to, step);
    up_to += threadIdx.x % 32 >= step ? other : 0;
  }
  __syncthreads();  // what was found before was read
  if (threadIdx.x % 32 == 31) {
    of_warp[threadIdx.x / 32] = up_to;
  }
  __syncthreads();
  int at = up_to - mine;
  int all = 0;
#pragma unroll
  for (int w = 0; w < kBlock / 32; ++w) {
    at += w < static_cast<int>(threadIdx.x / 32) ? of_warp[w] : 0;
    all += of_warp[w];
  }
#pragma unroll
  for (int i = 0; i < kPlacesEach; ++i) {
    if ((named >> i & 1u) != 0) {
      found[at++] = static_cast<int32_t>(first + i);
    }
  }
  __syncthreads();
  return all;
}

// A row that many places name (the sink of every memory): all threads look through the index, a
// stretch at a time. Walking it alone took a thread 1.3 ms for 20,000 places.
__device__ void add_many(const RowsOf<Any>& x, const int32_t* index, int64_t n, int32_t row,
                         const RowsOf<Any>& out) {
  __shared__ int32_t found[kPlacesAtOnce];
  const Any target = out.row(row);
  for (int64_t first = 0; first < x.dim; first += kBlock * 8) {  // once, for rows up to 1,024
    const int64_t column = first + threadIdx.x * 8;
    float sum[8] = {};
    if (column < x.dim) {
      out.get8(target, column, sum);
    }
    for (int64_t base = 0; base < n; base += kPlacesAtOnce) {
      const int count = find_places(index, n, base, row, found);
      if (column < x.dim) {
        add_places(x, found, count, column, sum);
      }
    }
    if (column < x.dim) {
      out.set8(target, column, sum);
    }
  }
}

// The block of a row's first appearance adds all that name it, in order: the same bits every time.
__global__ void scatter_add(RowsOf<Any> x, const int32_t* index, int64_t n, const int32_t* counts,
                            const int32_t* lists, RowsOf<Any> out) {
  const int64_t mine = blockIdx.x;
  const int32_t to = index[mine];
  if (to < 0 || to >= out.count) {
    return;
  }
  const int32_t count = counts[to];
  const int32_t* const list = lists + static_cast<int64_t>(to) * kListed;
  if (count > kListed) {
    // The least of the places that were listed is not the first of all, but one block's own.
    if (next_place(list, kListed, -1) == mine) {
      add_many(x, index, n, to, out);
    }
    return;
  }
  if (next_place(list, count, -1) != mine) {
    return;
  }
  const Any target = out.row(to);
  for (int64_t i = threadIdx.x * 8; i < x.dim; i += kBlock * 8) {
    float sum[8];
    out.get8(target, i, sum);
    for (int64_t j = mine; j >= 0; j = next_place(list, count, j)) {
      float v[8];
      x.get8(x.row(j), i, v);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        sum[k] += v[k];
      }
    }
    out.set8(target, i, sum);
  }
}

// A block for each segment; rows are added in order.
__global__ void mean_rows(RowsOf<Any> x, const int32_t* offsets, bool l2_normalise, RowsOf<Any> out,
                          float* sums) {
  const int64_t segment = blockIdx.x;
  const int32_t begin = offsets[segment];
  const int32_t end = offsets[segment + 1];
  const float scale = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
  const Any to = out.row(segment);
  float* mean = sums + segment * x.dim;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < x.dim; i += kBlock) {
    float sum = 0;
    for (int32_t r = begin; r < end; ++r) {
      sum += x.row(r).get(i);
    }
    mean[i] = sum * scale;
    squares += mean[i] * mean[i];
  }
  const float length = sqrtf(block_sum(squares));
  const float divide = l2_normalise && length > 0 ? 1.0f / length : 1.0f;
  for (int64_t i = threadIdx.x; i < x.dim; i += kBlock) {
    to.set(i, mean[i] * divide);
  }
}

__global__ void spread_means(const int32_t* offsets, RowsOf<Any> d_out, RowsOf<Any> d_x) {
  const int64_t segment = blockIdx.x;
  const int32_t begin = offsets[segment];
  const int32_t end = offsets[segment + 1];
  const float scale = 1.0f / static_cast<float>(max(end - begin, 1));
  const Any from = d_out.row(segment);
  for (int64_t i = threadIdx.x; i < d_x.dim; i += kBlock) {
    const float g = from.get(i) * scale;
    for (int32_t r = begin; r < end; ++r) {
      const Any to = d_x.row(r);
      to.set(i, to.get(i) + g);
    }
  }
}

}  // namespace

void gather_rows(const ExecutionContext& ctx, const GatherRowsArgs& a) {
  launch(ctx, "gather_rows", {dim3(blocks_x(a.index.dim(0))), dim3(kBlock)}, gather, flat_rows(a.x),
         a.index.data<int32_t>(), flat_rows(a.out), a.write == Write::accumulate);
}

void scatter_rows(const ExecutionContext& ctx, const ScatterRowsArgs& a) {
  const int64_t n = a.index.dim(0);
  const int32_t* index = a.index.data<int32_t>();
  const Launch shape{dim3(blocks_x(n)), dim3(kBlock)};
  if (a.write == Write::overwrite || a.is_distinct) {
    launch(ctx, "scatter_rows", shape, scatter, flat_rows(a.x), index, flat_rows(a.out),
           a.write == Write::accumulate);
    return;
  }
  if (n == 0 || a.out.dim(0) == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Tensor counts = ctx.make(Dtype::i32, {a.out.dim(0)});
  const Tensor places = ctx.make(Dtype::i32, {a.out.dim(0), kListed});
  fill(ctx, {.value = 0, .out = counts});
  launch(ctx, "list_places", threads_for(n), list_places, index, n, a.out.dim(0),
         counts.data<int32_t>(), places.data<int32_t>());
  launch(ctx, "scatter_add_rows", shape, scatter_add, flat_rows(a.x), index, n,
         counts.data<int32_t>(), places.data<int32_t>(), flat_rows(a.out));
}

void segment_mean(const ExecutionContext& ctx, const SegmentMeanArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor sums = ctx.make(Dtype::f32, a.out.shape());
  launch(ctx, "segment_mean", {dim3(blocks_x(a.out.dim(0))), dim3(kBlock)}, mean_rows,
         rows_of<Any>(a.x), a.offsets.data<int32_t>(), a.l2_normalise, rows_of<Any>(a.out),
         sums.data<float>());
}

void segment_mean_backward(const ExecutionContext& ctx, const SegmentMeanBackwardArgs& a) {
  launch(ctx, "segment_mean_backward", {dim3(blocks_x(a.d_out.dim(0))), dim3(kBlock)}, spread_means,
         a.offsets.data<int32_t>(), rows_of<Any>(a.d_out), rows_of<Any>(a.d_x));
}

}  // namespace offbook::ops::cuda
