#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int64_t kMostWarpColumns =
    1024;  // up to here a warp holds a row; above, a block of 256 threads does
constexpr int kBlock = 256;
constexpr int64_t kGradientParts = 1056;  // eight blocks for each multiprocessor of an H200

// Threads that share a row: a warp, or the whole block.
template <bool kWarp>
struct Team {
  __device__ static int64_t row() {
    return kWarp ? static_cast<int64_t>(blockIdx.x) * (kBlock / 32) + threadIdx.x / 32 : blockIdx.x;
  }
  __device__ static int64_t first() { return (kWarp ? threadIdx.x % 32 : threadIdx.x) * 8; }
  __device__ static int64_t step() { return (kWarp ? 32 : kBlock) * 8; }
  __device__ static float sum(float x) { return kWarp ? warp_sum(x) : block_sum(x); }
  static Launch shape(int64_t rows) {
    return {dim3(blocks_x(kWarp ? div_up(rows, kBlock / 32) : rows)), dim3(kBlock)};
  }
};

template <class A, bool kWarp>
__device__ float inverse_rms(const RowsOf<A>& x, const A& row, float eps) {
  float squares = 0;
  for (int64_t i = Team<kWarp>::first(); i < x.dim; i += Team<kWarp>::step()) {
    float v[8];
    x.get8(row, i, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      squares += v[j] * v[j];
    }
  }
  return rsqrtf(Team<kWarp>::sum(squares) / static_cast<float>(x.dim) + eps);
}

// The second reading of the row comes from the L1 cache.
template <class A, bool kWarp>
__global__ void rms_norm_rows(RowsOf<A> x, RowsOf<Any> weight, float eps, RowsOf<A> out) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t r = Team<kWarp>::row();
  if (r >= x.count) {
    return;
  }
  const A row = x.row(r);
  const A to = out.row(r);
  const float scale = inverse_rms<A, kWarp>(x, row, eps);
  for (int64_t i = Team<kWarp>::first(); i < x.dim; i += Team<kWarp>::step()) {
    float v[8], w[8];
    x.get8(row, i, v);
    weight.get8(weight.base, i, w);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      v[j] *= scale * w[j];
    }
    out.set8(to, i, v);
  }
}

template <class A, bool kWarp>
__global__ void rms_norm_backward_rows(RowsOf<A> x, RowsOf<Any> weight, float eps, RowsOf<A> d_out,
                                       RowsOf<A> d_x, bool accumulate) {
  const int64_t r = Team<kWarp>::row();
  if (r >= x.count) {
    return;
  }
  const A row = x.row(r);
  const A from = d_out.row(r);
  const A to = d_x.row(r);
  const float scale = inverse_rms<A, kWarp>(x, row, eps);
  float dot = 0;
  for (int64_t i = Team<kWarp>::first(); i < x.dim; i += Team<kWarp>::step()) {
    float v[8], w[8], d[8];
    x.get8(row, i, v);
    weight.get8(weight.base, i, w);
    d_out.get8(from, i, d);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      dot += d[j] * w[j] * v[j];
    }
  }
  dot = Team<kWarp>::sum(dot);
  const float along = -scale * scale * scale * dot / static_cast<float>(x.dim);
  for (int64_t i = Team<kWarp>::first(); i < x.dim; i += Team<kWarp>::step()) {
    float v[8], w[8], d[8], before[8];
    x.get8(row, i, v);
    weight.get8(weight.base, i, w);
    d_out.get8(from, i, d);
    if (accumulate) {
      d_x.get8(to, i, before);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      v[j] = d[j] * w[j] * scale + v[j] * along + (accumulate ? before[j] : 0.0f);
    }
    d_x.set8(to, i, v);
  }
}

template <class A, bool kWarp>
__global__ void inverse_rms_rows(RowsOf<A> x, float eps, float* inverse) {
  const int64_t r = Team<kWarp>::row();
  if (r < x.count) {
    const float scale = inverse_rms<A, kWarp>(x, x.row(r), eps);
    if (Team<kWarp>::first() == 0) {
      inverse[r] = scale;
    }
  }
}

// parts[p, c] = Σ over the rows of part p of d_out · x · inverse, a thread for eight columns.
template <class A>
__global__ void weight_gradient_parts(RowsOf<A> x, RowsOf<A> d_out, const float* inverse,
                                      int64_t rows_per_part, float* parts) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (i >= x.dim) {
    return;
  }
  const int64_t end = min((blockIdx.y + 1) * rows_per_part, x.count);
  float sum[8] = {};
#pragma unroll 4
  for (int64_t r = blockIdx.y * rows_per_part; r < end; ++r) {
    float v[8], d[8];
    x.get8(x.row(r), i, v);
    d_out.get8(d_out.row(r), i, d);
    const float scale = inverse[r];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sum[j] += d[j] * v[j] * scale;
    }
  }
  for (int j = 0; j < 8 && i + j < x.dim; ++j) {
    parts[blockIdx.y * x.dim + i + j] = sum[j];
  }
}

template <class A, bool kWarp>
void weight_gradient(const ExecutionContext& ctx, const RmsNormBackwardArgs& a) {
  const RowsOf<A> x = rows_of<A>(a.x);
  const int64_t per_part = std::max<int64_t>(16, div_up(x.count, kGradientParts));
  const int64_t parts = div_up(x.count, per_part);
  backend::ArenaScope scope(*ctx.arena);
  const Tensor inverse = ctx.make(Dtype::f32, Shape{x.count});
  const Tensor sums = ctx.make(Dtype::f32, Shape{parts, x.dim});
  launch(ctx, "inverse_rms_rows", Team<kWarp>::shape(x.count), inverse_rms_rows<A, kWarp>, x, a.eps,
         inverse.data<float>());
  constexpr unsigned kThreads = 64;
  launch(
      ctx, "weight_gradient_parts",
      {dim3(blocks_x(div_up(x.dim, 8 * kThreads)), static_cast<unsigned>(parts)), dim3(kThreads)},
      weight_gradient_parts<A>, x, rows_of<A>(a.d_out), inverse.data<float>(), per_part,
      sums.data<float>());
  add_column_sums(ctx, sums, 1.0f, a.d_weight.data<float>());
}

template <typename Fn>
void with_team(int64_t dim, const Fn& fn) {
  if (dim <= kMostWarpColumns) {
    fn(std::true_type{});
  } else {
    fn(std::false_type{});
  }
}

}  // namespace

void rms_norm(const ExecutionContext& ctx, const RmsNormArgs& a) {
  with_elements({&a.x, &a.out}, [&](auto accessor) {
    with_team(a.x.dim(-1), [&](auto warp) {
      using A = decltype(accessor);
      const RowsOf<A> x = rows_of<A>(a.x);
      Launch shape = Team<warp()>::shape(x.count);
      shape.overlaps = true;
      launch(ctx, "rms_norm", shape, rms_norm_rows<A, warp()>, x, rows_of<Any>(a.weight), a.eps,
             rows_of<A>(a.out));
    });
  });
}

void rms_norm_backward(const ExecutionContext& ctx, const RmsNormBackwardArgs& a) {
  if (a.x.numel() == 0) {
    return;
  }
  with_elements({&a.x, &a.d_out, &a.d_x}, [&](auto accessor) {
    with_team(a.x.dim(-1), [&](auto warp) {
      using A = decltype(accessor);
      if (a.d_weight.defined()) {  // before d_x, which may be where x or d_out stands
        weight_gradient<A, warp()>(ctx, a);
      }
      const RowsOf<A> x = rows_of<A>(a.x);
      launch(ctx, "rms_norm_backward", Team<warp()>::shape(x.count),
             rms_norm_backward_rows<A, warp()>, x, rows_of<Any>(a.weight), a.eps,
             rows_of<A>(a.d_out), rows_of<A>(a.d_x), a.write == Write::accumulate);
    });
  });
}

}  // namespace offbook::ops::cuda
