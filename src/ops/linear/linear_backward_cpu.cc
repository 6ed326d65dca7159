#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/gemm/gemm.h"
#include "src/ops/registry.h"
#include "src/ops/tiles.h"

// Plain x86-64 above, vectors below; the comments keep clang-format from sorting across.
#include "src/backend/cpu/isa_begin.h"
//
#include "src/ops/linear/convert_cpu.h"
#include "src/ops/simd.h"

namespace offbook::ops::OB_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 512;
constexpr int64_t kDepth = 1024;  // weight rows decoded at a time: 256 kB in bf16 for 128 columns
constexpr int64_t kGradientTile = 128;
constexpr int64_t kBiasColumns = 64;

// Columns of the weight a task works on: whole blocks of its type.
int64_t input_columns(const Tensor& weight) {
  const int64_t columns = weight.dim(1) <= 768 ? 96 : 128;
  return std::max<int64_t>(columns, dtype_info(weight.dtype()).block_elems);
}

int64_t element_bytes(const Tensor& t) {
  return dtype_info(t.dtype()).block_bytes;
}

// d_x block (+)= sums, which lie in f32 scratch.
void write_bf16(const LinearBackwardInputArgs& a, const float* sums, const MatrixPart& part) {
  for (int64_t r = 0; r < part.rows; ++r) {
    auto* to = reinterpret_cast<Bf16*>(a.d_x.row_raw(part.row + r)) + part.col;
    for_lanes(part.cols, [&](int64_t i, int n) {
      Vec v = load_some(sums + r * part.cols + i, n);
      if (a.write == Write::accumulate) {
        v = v + load_some(to + i, n);
      }
      store_some(to + i, v, n);
    });
  }
}

// One block of d_x: the sum over the weight's rows, in pieces of `depth` in order.
void input_block(const LinearBackwardInputArgs& a, const Tensor& d_out, int64_t depth,
                 const MatrixPart& part, std::byte* scratch) {
  const int64_t out = a.weight.dim(0);
  auto* sums = reinterpret_cast<float*>(scratch);
  const bool in_scratch = depth < out && a.d_x.dtype() == Dtype::bf16;
  std::byte* decoded =
      scratch + (in_scratch ? kRowsPerBlock * part.cols * static_cast<int64_t>(sizeof(float)) : 0);
  for (int64_t k = 0; k < out; k += depth) {
    const int64_t rows = std::min(depth, out - k);
    const Tile weight =
        weight_tile(a.weight, d_out.dtype(),
                    {.row = k, .rows = rows, .col = part.col, .cols = part.cols}, decoded);
    backend::GemmArgs g{.m = part.rows,
                        .n = part.cols,
                        .k = rows,
                        .in = d_out.dtype(),
                        .out = a.d_x.dtype(),
                        .a = d_out.row_raw(part.row) + k * element_bytes(d_out),
                        .lda = d_out.stride(0),
                        .b = weight.data,
                        .ldb = weight.ld,
                        .c = a.d_x.row_raw(part.row) + part.col * element_bytes(a.d_x),
                        .ldc = a.d_x.stride(0),
                        .alpha = a.alpha,
                        .is_accumulated = k > 0 || a.write == Write::accumulate};
    if (in_scratch) {
      g.out = Dtype::f32;
      g.c = sums;
      g.ldc = part.cols;
      g.is_accumulated = k > 0;
    }
    gemm(g);
  }
  if (in_scratch) {
    write_bf16(a, sums, part);
  }
}

void bias_gradient(const ExecutionContext& ctx, const LinearBackwardWeightArgs& a) {
  with_activation_type(a.d_out.dtype(), [&](auto* type) {
    ctx.pool->parallel_for(a.d_bias.dim(0), kBiasColumns, [&](int64_t begin, int64_t end) {
      float* to = a.d_bias.data<float>() + begin;
      for (int64_t r = 0; r < a.d_out.dim(0); ++r) {
        const auto* from = reinterpret_cast<decltype(type)>(a.d_out.row_raw(r)) + begin;
        for_lanes(end - begin, [&](int64_t i, int n) {
          store_some(to + i, load_some(to + i, n) + load_some(from + i, n), n);
        });
      }
    });
  });
}

}  // namespace

void linear_backward_input(const ExecutionContext& ctx, const LinearBackwardInputArgs& a) {
  if (a.d_out.dim(0) == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Dtype type = factor_type(ctx.compute);
  const Tensor d_out = in_type(ctx, a.d_out, type);
  const int64_t in = a.weight.dim(1);
  const int64_t width = input_columns(a.weight);
  const int64_t tiles = (in + width - 1) / width;
  const int64_t blocks = (d_out.dim(0) + kRowsPerBlock - 1) / kRowsPerBlock;
  const int64_t depth = a.weight.dtype() == type ? a.weight.dim(0) : kDepth;
  const int64_t scratch_bytes =
      tile_bytes(a.weight, type, depth, width) +
      (depth < a.weight.dim(0) ? kRowsPerBlock * width * static_cast<int64_t>(sizeof(float)) : 0);
  for_tiles(ctx, tiles * blocks, scratch_bytes, [&](int64_t task, std::byte* scratch) {
    const int64_t row = task / tiles * kRowsPerBlock;
    const int64_t col = task % tiles * width;
    input_block(a, d_out, depth,
                {.row = row,
                 .rows = std::min(kRowsPerBlock, d_out.dim(0) - row),
                 .col = col,
                 .cols = std::min(width, in - col)},
                scratch);
  });
}

void linear_backward_weight(const ExecutionContext& ctx, const LinearBackwardWeightArgs& a) {
  if (a.x.dim(0) == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const Dtype type = factor_type(ctx.compute);
  const Tensor x = in_type(ctx, a.x, type);
  const Tensor d_out = in_type(ctx, a.d_out, type);
  const int64_t across = (a.d_weight.dim(1) + kGradientTile - 1) / kGradientTile;
  const int64_t down = (a.d_weight.dim(0) + kGradientTile - 1) / kGradientTile;
  ctx.pool->run(across * down, [&](int64_t task) {
    const int64_t o = task / across * kGradientTile;
    const int64_t i = task % across * kGradientTile;
    gemm({.m = std::min(kGradientTile, a.d_weight.dim(0) - o),
          .n = std::min(kGradientTile, a.d_weight.dim(1) - i),
          .k = x.dim(0),
          .in = type,
          .a = d_out.raw() + o * element_bytes(d_out),
          .lda = d_out.stride(0),
          .a_is_transposed = true,
          .b = x.raw() + i * element_bytes(x),
          .ldb = x.stride(0),
          .c = a.d_weight.row_raw(o) + i * element_bytes(a.d_weight),
          .ldc = a.d_weight.stride(0),
          .alpha = a.alpha,
          .is_accumulated = true});
  });
  if (a.d_bias.defined()) {
    bias_gradient(ctx, a);
  }
}

}  // namespace offbook::ops::OB_ISA

#include "src/backend/cpu/isa_end.h"
