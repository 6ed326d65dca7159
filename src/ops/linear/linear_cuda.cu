#include "src/ops/cuda/map.cuh"
#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/gemv_cuda.cuh"
#include "src/ops/linear/matmul_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

// Up to here reading a quantised weight twice is faster than converting it once.
constexpr int64_t kQuantisedRows = 2 * kGemvRows;
constexpr int64_t kConvertedBytes = int64_t{64} << 20;  // of a weight at a time, in the arena

struct AddRow {
  const float* bias;
  __device__ void operator()(int64_t i, const float (&in)[1], float (&out)[1]) const {
    out[0] = in[0] + bias[i];
  }
};

// Rows of a weight that one pass converts: all of a weight that needs no conversion.
int64_t rows_per_pass(const ExecutionContext& ctx, const Tensor& weight) {
  if (weight.dtype() == factor_dtype(ctx)) {
    return std::max<int64_t>(weight.dim(0), 1);
  }
  const int64_t row_bytes = std::max<int64_t>(1, weight.dim(1) * dtype_bytes(factor_dtype(ctx), 1));
  return std::max<int64_t>(256, kConvertedBytes / row_bytes / 256 * 256);
}

}  // namespace

Dtype factor_dtype(const ExecutionContext& ctx) {
  return ctx.compute == Compute::bf16 ? Dtype::bf16 : Dtype::f32;
}

Tensor as_factor(const ExecutionContext& ctx, const Tensor& t) {
  const Dtype dtype = factor_dtype(ctx);
  const int64_t ld_bytes = t.row_stride_bytes();
  const bool rows_aligned =
      (t.dim(0) <= 1 || ld_bytes % 16 == 0) && reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0;
  if (t.dtype() == dtype && (t.dim(1) <= 1 || t.stride(1) == 1) && rows_aligned &&
      t.stride(0) >= t.dim(1)) {
    return t;
  }
  const int64_t padded = div_up(t.dim(1), 8) * 8;  // rows on 16 bytes
  Tensor out = ctx.make(dtype, {t.dim(0), padded}).slice(1, 0, t.dim(1));
  dequantize(ctx, {.x = t, .out = out});
  return out;
}

void multiply(const ExecutionContext& ctx, const Product& p) {
  const bool ta = p.transpose_a == Transpose::yes;
  const bool tb = p.transpose_b == Transpose::yes;
  const int64_t m = p.c.dim(0);
  const int64_t n = p.c.dim(1);
  const int64_t k = ta ? p.a.dim(0) : p.a.dim(1);
  OB_CHECK((ta ? p.a.dim(1) : p.a.dim(0)) == m && (tb ? p.b.dim(0) : p.b.dim(1)) == n);
  OB_CHECK((tb ? p.b.dim(1) : p.b.dim(0)) == k);
  if (k == 0) {
    if (p.write == Write::overwrite) {
      fill(ctx, {.value = 0, .out = p.c});
    }
    return;
  }
  const auto ld = [](const Tensor& t) { return std::max<int64_t>(t.stride(0), t.dim(1)); };
  const bool adds = p.write == Write::accumulate || p.addend.defined();
  ctx.cuda->gemm->run({.a = p.a.raw(),
                       .b = p.b.raw(),
                       .c = p.c.raw(),
                       .m = m,
                       .n = n,
                       .k = k,
                       .lda = ld(p.a),
                       .ldb = ld(p.b),
                       .ldc = ld(p.c),
                       .transpose_a = p.transpose_a,
                       .transpose_b = p.transpose_b,
                       .factor_dtype = p.a.dtype(),
                       .c_dtype = p.c.dtype(),
                       .alpha = p.alpha,
                       .beta = adds ? 1.0f : 0.0f,
                       .addend = p.addend.defined() ? p.addend.raw() : nullptr,
                       .ld_addend = p.addend.defined() ? ld(p.addend) : 0},
                      ctx.cuda->stream.get());
}

void linear(const ExecutionContext& ctx, const LinearArgs& a) {
  if (a.x.dim(0) == 0 || a.weight.dim(0) == 0) {
    return;
  }
  const bool few_rows = a.x.dim(0) <= (is_quantised(a.weight.dtype()) ? kQuantisedRows : kGemvRows);
  const bool wide_result = a.out.dtype() == Dtype::bf16 && ctx.compute == Compute::f32;
  if (a.addend.defined() && (few_rows || wide_result)) {  // only cuBLASLt adds from elsewhere
    LinearArgs on_top = a;
    on_top.addend = {};
    on_top.write = Write::accumulate;
    copy(ctx, {.x = a.addend, .out = a.out});
    return cuda::linear(ctx, on_top);
  }
  if (a.x.dim(0) <= kGemvRows) {
    return gemv(ctx, a);
  }
  if (is_quantised(a.weight.dtype()) && a.x.dim(0) <= kQuantisedRows) {
    for (int64_t r = 0; r < a.x.dim(0); r += kGemvRows) {
      LinearArgs part = a;
      part.x = a.x.slice(0, r, std::min(r + kGemvRows, a.x.dim(0)));
      part.out = a.out.slice(0, r, std::min(r + kGemvRows, a.x.dim(0)));
      gemv(ctx, part);
    }
    return;
  }
  // cuBLASLt writes bf16 only from bf16 factors.
  if (wide_result) {
    backend::ArenaScope scope(*ctx.arena);
    LinearArgs wide = a;
    wide.out = ctx.make(Dtype::f32, a.out.shape());
    wide.write = Write::overwrite;
    cuda::linear(ctx, wide);
    return copy(ctx, {.x = wide.out, .write = a.write, .out = a.out});
  }
  backend::ArenaScope scope(*ctx.arena);
  const Tensor x = as_factor(ctx, a.x);
  const int64_t step = rows_per_pass(ctx, a.weight);
  for (int64_t o = 0; o < a.weight.dim(0); o += step) {
    const int64_t end = std::min(o + step, a.weight.dim(0));
    backend::ArenaScope pass(*ctx.arena);
    multiply(ctx, {.a = x,
                   .b = as_factor(ctx, a.weight.slice(0, o, end)),
                   .transpose_b = Transpose::yes,
                   .alpha = a.alpha,
                   .write = a.write,
                   .c = a.out.slice(1, o, end),
                   .addend = a.addend.defined() ? a.addend.slice(1, o, end) : Tensor()});
  }
  if (a.bias.defined()) {
    map<1, 1>(ctx, "add_bias", {a.out}, {a.out}, AddRow{a.bias.data<float>()});
  }
}

void linear_backward_input(const ExecutionContext& ctx, const LinearBackwardInputArgs& a) {
  if (a.d_x.numel() == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const int64_t step = rows_per_pass(ctx, a.weight);
  // A sum over several passes, or f32 factors, need an f32 result first.
  const bool direct =
      a.d_x.dtype() == Dtype::f32 || (ctx.compute == Compute::bf16 && step >= a.weight.dim(0));
  const Tensor d_x = direct ? a.d_x : ctx.make(Dtype::f32, a.d_x.shape());
  const Write write = direct ? a.write : Write::overwrite;
  if (a.weight.dim(0) == 0) {
    if (a.write == Write::overwrite) {
      fill(ctx, {.value = 0, .out = a.d_x});
    }
    return;
  }
  const Tensor d_out = as_factor(ctx, a.d_out);
  for (int64_t o = 0; o < a.weight.dim(0); o += step) {
    const int64_t end = std::min(o + step, a.weight.dim(0));
    backend::ArenaScope pass(*ctx.arena);
    multiply(ctx, {.a = d_out.slice(1, o, end),
                   .b = as_factor(ctx, a.weight.slice(0, o, end)),
                   .alpha = a.alpha,
                   .write = o == 0 ? write : Write::accumulate,
                   .c = d_x});
  }
  if (!direct) {
    copy(ctx, {.x = d_x, .write = a.write, .out = a.d_x});
  }
}

void linear_backward_weight(const ExecutionContext& ctx, const LinearBackwardWeightArgs& a) {
  if (a.x.dim(0) == 0 || a.d_weight.numel() == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  multiply(ctx, {.a = as_factor(ctx, a.d_out),
                 .transpose_a = Transpose::yes,
                 .b = as_factor(ctx, a.x),
                 .alpha = a.alpha,
                 .write = Write::accumulate,
                 .c = a.d_weight});
  if (a.d_bias.defined()) {
    add_column_sums(ctx, a.d_out, 1.0f, a.d_bias.data<float>());
  }
}

}  // namespace offbook::ops::cuda
