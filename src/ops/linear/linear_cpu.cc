#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/gemm/gemm.h"
#include "src/ops/linear/rows.h"
#include "src/ops/registry.h"
#include "src/ops/tiles.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/linear/convert_cpu.h"
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 512;  // of x: 590 kB in bf16 for 576 inputs, in L2
constexpr int64_t kFewColumns = 768;

// Weight rows a task decodes and multiplies: 147 kB in bf16 for 576 inputs. Narrower for small
// weights, so that two threads get equal shares of 576.
int64_t tile_columns(int64_t out) {
  return out <= kFewColumns ? 96 : 128;
}

// out (+)= product + bias for a block that lies in f32 scratch.
template <typename O>
void add_bias(const LinearArgs& a, const float* product, int64_t ld, const MatrixPart& part) {
  const float* bias = a.bias.data<float>() + part.col;
  for (int64_t r = 0; r < part.rows; ++r) {
    O* to = reinterpret_cast<O*>(a.out.row_raw(part.row + r)) + part.col;
    for_lanes(part.cols, [&](int64_t i, int n) {
      Vec v = load_some(product + r * ld + i, n) + load_some(bias + i, n);
      if (a.write == Write::accumulate) {
        v = v + load_some(to + i, n);
      }
      store_some(to + i, v, n);
    });
  }
}

// The product of rows of x with columns of out (rows of the weight tile), written to its place or,
// when a bias has to be added, to scratch first.
void multiply_block(const LinearArgs& a, const Tensor& x, const Tile& weight,
                    const MatrixPart& part, std::byte* scratch) {
  backend::GemmArgs g{.m = part.rows,
                      .n = part.cols,
                      .k = x.dim(1),
                      .in = x.dtype(),
                      .out = a.out.dtype(),
                      .a = x.row_raw(part.row),
                      .lda = x.stride(0),
                      .b = weight.data,
                      .ldb = weight.ld,
                      .b_is_transposed = true,
                      .c = a.out.row_raw(part.row) + dtype_bytes(a.out.dtype(), part.col),
                      .ldc = a.out.stride(0),
                      .alpha = a.alpha,
                      .is_accumulated = a.write == Write::accumulate};
  if (!a.bias.defined()) {
    gemm(g);
    return;
  }
  g.out = Dtype::f32;
  g.c = scratch;
  g.ldc = part.cols;
  g.is_accumulated = false;
  gemm(g);
  with_activation_type(a.out.dtype(), [&](auto* type) {
    add_bias<std::remove_pointer_t<decltype(type)>>(a, reinterpret_cast<const float*>(scratch),
                                                    part.cols, part);
  });
}

void linear_gemm(const ExecutionContext& ctx, const LinearArgs& a) {
  backend::ArenaScope scope(*ctx.arena);
  const Dtype type = factor_type(ctx.compute);
  const Tensor x = in_type(ctx, a.x, type);
  const int64_t out = a.weight.dim(0);
  const int64_t in = a.weight.dim(1);
  const int64_t width = tile_columns(out);
  const int64_t column_tiles = (out + width - 1) / width;
  const int64_t row_blocks = (x.dim(0) + kRowsPerBlock - 1) / kRowsPerBlock;
  const int64_t decoded = (tile_bytes(a.weight, type, width, in) + 63) / 64 * 64;
  const int64_t product =
      a.bias.defined() ? kRowsPerBlock * width * static_cast<int64_t>(sizeof(float)) : 0;
  for_tiles(ctx, column_tiles, decoded + product, [&](int64_t tile, std::byte* scratch) {
    const int64_t col = tile * width;
    const int64_t cols = std::min(width, out - col);
    const Tile weight =
        weight_tile(a.weight, type, {.row = col, .rows = cols, .col = 0, .cols = in}, scratch);
    for (int64_t block = 0; block < row_blocks; ++block) {
      const int64_t row = block * kRowsPerBlock;
      const int64_t rows = std::min(kRowsPerBlock, x.dim(0) - row);
      multiply_block(a, x, weight, {.row = row, .rows = rows, .col = col, .cols = cols},
                     scratch + decoded);
    }
  });
}

}  // namespace

void linear(const ExecutionContext& ctx, const LinearArgs& a) {
  if (a.x.dim(0) == 0 || a.weight.dim(0) == 0) {
    return;
  }
  if (a.x.dim(0) > kRowsAtOnce) {
    linear_gemm(ctx, a);
  } else if (is_quantised(a.weight.dtype()) && ctx.compute != Compute::f32) {
    linear_rows_int8(ctx, a);
  } else {
    linear_rows(ctx, a);
  }
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
