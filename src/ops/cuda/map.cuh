// Element-wise operations on rows: a functor of one element, eight elements a thread.
#pragma once
#include "src/ops/cuda/elements.cuh"

namespace offbook::ops::cuda {

template <class A, int kIn, int kOut>
struct MapOperands {
  RowsOf<A> in[kIn];
  RowsOf<A> out[kOut];
};

// Function: void operator()(int64_t column, const float (&in)[kIn], float (&out)[kOut]) const. A
// thread reads all its inputs before it writes, so an output may be an input.
template <class A, int kIn, int kOut, class Function>
__global__ void map_elements(MapOperands<A, kIn, kOut> o, int64_t groups_per_row,
                             Function function) {
  wait_for_predecessor();
  let_successor_start();
  const int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t r = group / groups_per_row;
  if (r >= o.in[0].count) {
    return;
  }
  const int64_t i = (group - r * groups_per_row) * 8;
  float x[kIn][8];
  float y[kOut][8];
#pragma unroll
  for (int k = 0; k < kIn; ++k) {
    o.in[k].get8(o.in[k].row(r), i, x[k]);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float in[kIn];
    float out[kOut];
#pragma unroll
    for (int k = 0; k < kIn; ++k) {
      in[k] = x[k][j];
    }
    function(i + j, in, out);
#pragma unroll
    for (int k = 0; k < kOut; ++k) {
      y[k][j] = out[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kOut; ++k) {
    o.out[k].set8(o.out[k].row(r), i, y[k]);
  }
}

// map with elements read and written as A, whatever the tensors call themselves.
template <class A, int kIn, int kOut, class Function>
void map_as(const ExecutionContext& ctx, const char* name, const Tensor (&in)[kIn],
            const Tensor (&out)[kOut], const Function& function) {
  MapOperands<A, kIn, kOut> operands;
  for (int k = 0; k < kIn; ++k) {
    operands.in[k] = rows_of<A>(in[k]);
  }
  for (int k = 0; k < kOut; ++k) {
    operands.out[k] = rows_of<A>(out[k]);
  }
  const int64_t groups = div_up(operands.in[0].dim, 8);
  Launch shape = threads_for(operands.in[0].count * groups);
  shape.overlaps = true;
  launch(ctx, name, shape, map_elements<A, kIn, kOut, Function>, operands, groups, function);
}

template <int kIn, int kOut, class Function>
void map(const ExecutionContext& ctx, const char* name, const Tensor (&in)[kIn],
         const Tensor (&out)[kOut], const Function& function) {
  bool f32 = true;
  bool half = true;
  const auto look = [&](const Tensor& t) {
    f32 = f32 && t.dtype() == Dtype::f32;
    half = half && t.dtype() == Dtype::bf16;
  };
  for (const Tensor& t : in) {
    look(t);
  }
  for (const Tensor& t : out) {
    look(t);
  }
  if (half) {
    map_as<Typed<bf16>>(ctx, name, in, out, function);
  } else if (f32) {
    map_as<Typed<float>>(ctx, name, in, out, function);
  } else {
    map_as<Any>(ctx, name, in, out, function);
  }
}

}  // namespace offbook::ops::cuda
