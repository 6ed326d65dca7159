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

// Rows of bf16 that a warp holds in registers: kPieces times 256 columns, all asked for at once.
template <int kPieces>
struct HeldRow {
  uint4 raw[kPieces];

  __device__ static int64_t column(int piece) { return piece * 256 + threadIdx.x % 32 * 8; }
  __device__ void load(const bf16* row, int64_t dim) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      raw[i] = column(i) < dim ? *reinterpret_cast<const uint4*>(row + column(i))
                               : make_uint4(0, 0, 0, 0);
    }
  }
};

template <int kPieces>
__global__ void __launch_bounds__(kBlock)
    rms_norm_held(RowsOf<Typed<bf16>> x, RowsOf<Any> weight, float eps, RowsOf<Typed<bf16>> out) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t r = Team<true>::row();
  if (r >= x.count) {
    return;
  }
  HeldRow<kPieces> row;
  row.load(x.row(r).p, x.dim);
  float v[kPieces][8];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    unpack8(row.raw[i], v[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      squares = fmaf(v[i][j], v[i][j], squares);
    }
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(x.dim) + eps);
  bf16* const to = out.row(r).p;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int64_t column = HeldRow<kPieces>::column(i);
    if (column < x.dim) {
      float w[8];
      weight.get8(weight.base, column, w);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        v[i][j] *= scale * w[j];
      }
      store8(to + column, v[i]);
    }
  }
}

// Everything of a row is read once; both of its sums are made together. `parts`: of d_weight, one
// row a block, which then takes several rows; null: not asked for. x, d_out and d_x may be one
// tensor.
template <int kPieces, bool kHasWeightGradient>
__global__ void __launch_bounds__(kBlock)
    rms_norm_backward_held(RowsOf<Typed<bf16>> x, RowsOf<Any> weight, float eps,
                           RowsOf<Typed<bf16>> d_out, RowsOf<Typed<bf16>> d_x, bool accumulate,
                           float* parts) {
  float gradient[kHasWeightGradient ? kPieces : 1][8] = {};
  const int64_t step = int64_t{gridDim.x} * (kBlock / 32);
  for (int64_t r = Team<true>::row(); r < x.count; r += step) {
    HeldRow<kPieces> held_x, held_d, before;
    bf16* const to = d_x.row(r).p;
    held_x.load(x.row(r).p, x.dim);
    held_d.load(d_out.row(r).p, x.dim);
    if (accumulate) {
      before.load(to, x.dim);
    }
    float v[kPieces][8];
    float d[kPieces][8];
    float squares = 0;
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      unpack8(held_x.raw[i], v[i]);
      unpack8(held_d.raw[i], d[i]);
      float w[8] = {};
      if (HeldRow<kPieces>::column(i) < x.dim) {
        weight.get8(weight.base, HeldRow<kPieces>::column(i), w);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        squares = fmaf(v[i][j], v[i][j], squares);
        dot = fmaf(d[i][j] * w[j], v[i][j], dot);
      }
    }
    squares = warp_sum(squares);
    dot = warp_sum(dot);
    const float scale = rsqrtf(squares / static_cast<float>(x.dim) + eps);
    const float along = -scale * scale * scale * dot / static_cast<float>(x.dim);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int64_t column = HeldRow<kPieces>::column(i);
      if (column < x.dim) {
        float w[8], sum[8] = {};
        weight.get8(weight.base, column, w);
        if (accumulate) {
          unpack8(before.raw[i], sum);
        }
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if constexpr (kHasWeightGradient) {
            gradient[i][j] = fmaf(d[i][j] * scale, v[i][j], gradient[i][j]);
          }
          sum[j] += d[i][j] * w[j] * scale + v[i][j] * along;
        }
        store8(to + column, sum);
      }
    }
  }
  if constexpr (kHasWeightGradient) {
    extern __shared__ float of_warps[];  // [warps, kPieces · 256]
    constexpr int kColumns = kPieces * 256;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      store8(of_warps + threadIdx.x / 32 * kColumns + HeldRow<kPieces>::column(i), gradient[i]);
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < x.dim; c += kBlock) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kBlock / 32; ++w) {
        sum += of_warps[w * kColumns + c];
      }
      parts[blockIdx.x * x.dim + c] = sum;
    }
  }
}

// Calls fn with the pieces of rows that a warp can hold; false where it cannot.
template <typename Fn>
bool with_held_rows(std::initializer_list<const Tensor*> tensors, const Fn& fn) {
  for (const Tensor* t : tensors) {
    if (t->dtype() != Dtype::bf16 || !rows_of<Any>(*t).aligned) {
      return false;
    }
  }
  const int64_t dim = (*tensors.begin())->dim(-1);
  if (dim <= 0 || dim > kMostWarpColumns) {
    return false;
  }
  switch ((dim - 1) / 256) {
    case 0:
      fn(std::integral_constant<int, 1>{});
      break;
    case 1:
      fn(std::integral_constant<int, 2>{});
      break;
    case 2:
      fn(std::integral_constant<int, 3>{});
      break;
    default:
      fn(std::integral_constant<int, 4>{});
  }
  return true;
}

bool backward_held(const ExecutionContext& ctx, const RmsNormBackwardArgs& a) {
  using A = Typed<bf16>;
  if (!rows_of<Any>(a.weight).aligned) {
    return false;
  }
  return with_held_rows({&a.x, &a.d_out, &a.d_x}, [&](auto pieces) {
    const RowsOf<A> x = rows_of<A>(a.x);
    const bool accumulates = a.write == Write::accumulate;
    const Launch shape = Team<true>::shape(x.count);
    if (!a.d_weight.defined()) {
      launch(ctx, "rms_norm_backward", shape, rms_norm_backward_held<pieces(), false>, x,
             rows_of<Any>(a.weight), a.eps, rows_of<A>(a.d_out), rows_of<A>(a.d_x), accumulates,
             static_cast<float*>(nullptr));
      return;
    }
    backend::ArenaScope scope(*ctx.arena);
    const int64_t blocks = std::min<int64_t>(shape.grid.x, kGradientParts);
    const Tensor parts = ctx.make(Dtype::f32, Shape{blocks, x.dim});
    launch(ctx, "rms_norm_backward",
           {dim3(blocks_x(blocks)), shape.block, sizeof(float) * kBlock / 32 * pieces() * 256},
           rms_norm_backward_held<pieces(), true>, x, rows_of<Any>(a.weight), a.eps,
           rows_of<A>(a.d_out), rows_of<A>(a.d_x), accumulates, parts.data<float>());
    add_column_sums(ctx, parts, 1.0f, a.d_weight.data<float>());
  });
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
  if (rows_of<Any>(a.weight).aligned && with_held_rows({&a.x, &a.out}, [&](auto pieces) {
        const RowsOf<Typed<bf16>> x = rows_of<Typed<bf16>>(a.x);
        Launch shape = Team<true>::shape(x.count);
        shape.overlaps = true;
        launch(ctx, "rms_norm", shape, rms_norm_held<pieces()>, x, rows_of<Any>(a.weight), a.eps,
               rows_of<Typed<bf16>>(a.out));
      })) {
    return;
  }
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
  if (a.x.numel() == 0 || backward_held(ctx, a)) {
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
