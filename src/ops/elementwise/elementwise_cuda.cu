#include <bit>

#include "src/ops/cuda/map.cuh"
#include "src/ops/cuda/reduce.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

struct Sum {
  __device__ void operator()(int64_t, const float (&in)[2], float (&out)[1]) const {
    out[0] = in[0] + in[1];
  }
};
struct Same {  // also of integers: the bits go through unchanged
  __device__ void operator()(int64_t, const float (&in)[1], float (&out)[1]) const {
    out[0] = in[0];
  }
};
struct Scale {
  float alpha;
  __device__ void operator()(int64_t, const float (&in)[1], float (&out)[1]) const {
    out[0] = alpha * in[0];
  }
};
struct ScaleAdd {
  float alpha;
  __device__ void operator()(int64_t, const float (&in)[2], float (&out)[1]) const {
    out[0] = alpha * in[0] + in[1];
  }
};
struct AffineRow {
  const float* scale;
  const float* row;
  __device__ void operator()(int64_t i, const float (&in)[1], float (&out)[1]) const {
    out[0] = row[i] + *scale * in[0];
  }
};
struct AddScaled {
  const float* scale;
  __device__ void operator()(int64_t, const float (&in)[2], float (&out)[1]) const {
    out[0] = in[1] + *scale * in[0];
  }
};

// dots[r] = a[r] · b[r], a warp for each row.
template <class A>
__global__ void row_dots(RowsOf<A> a, RowsOf<A> b, float* dots) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (r >= a.count) {
    return;
  }
  float sum = 0;
  for (int64_t i = threadIdx.x % 32; i < a.dim; i += 32) {
    sum += a.row(r).get(i) * b.row(r).get(i);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    dots[r] = sum;
  }
}

template <class A>
__global__ void fill_rows(RowsOf<A> out, int64_t groups_per_row, float value) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t r = group / groups_per_row;
  if (r < out.count) {
    const float v[8] = {value, value, value, value, value, value, value, value};
    out.set8(out.row(r), (group - r * groups_per_row) * 8, v);
  }
}

template <class A>
void fill_as(const ExecutionContext& ctx, const Tensor& out, float value) {
  const RowsOf<A> rows = rows_of<A>(out);
  const int64_t groups = div_up(rows.dim, 8);
  launch(ctx, "fill", threads_for(rows.count * groups), fill_rows<A>, rows, groups, value);
}

}  // namespace

void add(const ExecutionContext& ctx, const AddArgs& a) {
  map<2, 1>(ctx, "add", {a.a, a.b}, {a.out}, Sum{});
}

void copy(const ExecutionContext& ctx, const CopyArgs& a) {
  if (a.x.dtype() == Dtype::i32) {  // the bits, carried as floats
    map_as<Typed<float>, 1, 1>(ctx, "copy", {a.x}, {a.out}, Same{});
  } else if (a.write == Write::accumulate) {
    map<2, 1>(ctx, "copy", {a.x, a.out}, {a.out}, ScaleAdd{a.alpha});
  } else {
    map<1, 1>(ctx, "copy", {a.x}, {a.out}, Scale{a.alpha});
  }
}

void fill(const ExecutionContext& ctx, const FillArgs& a) {
  if (a.out.dtype() == Dtype::i32) {
    fill_as<Typed<float>>(ctx, a.out, std::bit_cast<float>(static_cast<int32_t>(a.value)));
  } else if (a.out.dtype() == Dtype::f32) {
    fill_as<Typed<float>>(ctx, a.out, a.value);
  } else {
    fill_as<Typed<bf16>>(ctx, a.out, a.value);
  }
}

void affine_rows(const ExecutionContext& ctx, const AffineRowsArgs& a) {
  map<1, 1>(ctx, "affine_rows", {a.x}, {a.out},
            AffineRow{a.scale.data<float>(), a.row.data<float>()});
}

void affine_rows_backward(const ExecutionContext& ctx, const AffineRowsBackwardArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  if (a.x.numel() == 0) {
    return;
  }
  const Tensor dots = ctx.make(Dtype::f32, {a.x.dim(0), 1});
  with_elements({&a.x, &a.d_out}, [&](auto accessor) {
    using A = decltype(accessor);
    launch(ctx, "row_dots", threads_for(a.x.dim(0) * 32), row_dots<A>, rows_of<A>(a.x),
           rows_of<A>(a.d_out), dots.data<float>());
  });
  add_column_sums(ctx, dots, 1.0f, a.d_scale.data<float>());
  add_column_sums(ctx, a.d_out, 1.0f, a.d_row.data<float>());
  if (a.d_x.defined()) {
    map<2, 1>(ctx, "affine_rows_backward", {a.d_out, a.d_x}, {a.d_x},
              AddScaled{a.scale.data<float>()});
  }
}

}  // namespace offbook::ops::cuda
