// Activations and weight tiles in the type that factors multiply in. Include after isa_begin.h,
// and decode.h, dispatch.h and op.h before it.
#pragma once

namespace offbook::ops::OB_ISA {

inline Dtype factor_type(Compute compute) {
  return compute == Compute::f32 ? Dtype::f32 : Dtype::bf16;
}

// t itself when it has the type, else a contiguous copy in the arena of ctx. Rank 2.
inline Tensor in_type(const ExecutionContext& ctx, const Tensor& t, Dtype dtype) {
  if (t.dtype() == dtype) {
    return t;
  }
  const Tensor copy = ctx.make(dtype, t.shape());
  with_activation_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    ctx.pool->parallel_for(t.dim(0), 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        decode(t.dtype(), t.row_raw(r), t.dim(1), copy.data<T>() + r * t.dim(1));
      }
    });
  });
  return copy;
}

// Part of a matrix in memory.
struct Tile {
  const std::byte* data;
  int64_t ld;  // elements between rows
};

inline int64_t tile_bytes(const Tensor& weight, Dtype dtype, int64_t rows, int64_t cols) {
  return weight.dtype() == dtype ? 0 : rows * cols * dtype_info(dtype).block_bytes;
}

// Rows and columns of a weight as dtype (f32 or bf16): in place when that is its type, else decoded
// to scratch. The first column must begin a block.
struct MatrixPart {
  int64_t row;
  int64_t rows;
  int64_t col;
  int64_t cols;
};
inline Tile weight_tile(const Tensor& weight, Dtype dtype, const MatrixPart& part,
                        std::byte* scratch) {
  const int64_t col_bytes = dtype_bytes(weight.dtype(), part.col);
  if (weight.dtype() == dtype) {
    return {weight.row_raw(part.row) + col_bytes, weight.stride(0)};
  }
  with_activation_type(dtype, [&](auto* type) {
    auto* to = reinterpret_cast<decltype(type)>(scratch);
    for (int64_t r = 0; r < part.rows; ++r) {
      decode(weight.dtype(), weight.row_raw(part.row + r) + col_bytes, part.cols,
             to + r * part.cols);
    }
  });
  return {scratch, part.cols};
}

}  // namespace offbook::ops::OB_ISA
