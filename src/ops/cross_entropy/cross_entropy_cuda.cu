#include <optional>

#include "src/ops/cross_entropy/registers_cuda.cuh"
#include "src/ops/cuda/reduce.cuh"
#include "src/ops/linear/matmul_cuda.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {
namespace {

constexpr int64_t kRowsPerChunk = 2048;
constexpr int64_t kVocabPerChunk = 2048;  // 16 MiB of f32 logits
constexpr int kBlock = 256;

// Running log-sum-exp of the rows of a chunk over the vocabulary seen so far.
struct Running {
  float* most;
  float* total;
  float* target_logit;
};

__device__ float block_max(float x) {
  __shared__ float parts[kBlock / 32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    parts[threadIdx.x / 32] = x;
  }
  __syncthreads();
  x = parts[0];
#pragma unroll
  for (int w = 1; w < kBlock / 32; ++w) {
    x = fmaxf(x, parts[w]);
  }
  return x;
}

// The columns of a row that a thread keeps in registers: fours at tid · 4 and kBlock · 4 further
// on.
struct RowPart {
  static constexpr int kFours = kVocabPerChunk / (4 * kBlock);
  float v[kFours][4];

  __device__ static int64_t column(int four) {
    return (four * kBlock + static_cast<int64_t>(threadIdx.x)) * 4;
  }
  // Rows are aligned to 16 bytes; columns past the end read as −∞.
  __device__ RowPart(const float* row, int64_t columns) {
#pragma unroll
    for (int f = 0; f < kFours; ++f) {
      const int64_t i = column(f);
      if (i + 4 <= columns) {
        const float4 x = *reinterpret_cast<const float4*>(row + i);
        v[f][0] = x.x, v[f][1] = x.y, v[f][2] = x.z, v[f][3] = x.w;
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          v[f][j] = i + j < columns ? row[i + j] : -INFINITY;
        }
      }
    }
  }
};

// A block for each row takes in logits of the vocabulary from `first` on.
__global__ void __launch_bounds__(kBlock)
    take_logits(const float* logits, int64_t columns, int64_t stride, int64_t first,
                const int32_t* targets, Running running) {
  const int64_t r = blockIdx.x;
  const RowPart part(logits + r * stride, columns);
  float peak = -INFINITY;
#pragma unroll
  for (int f = 0; f < RowPart::kFours; ++f) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      peak = fmaxf(peak, part.v[f][j]);
    }
  }
  const float before = first == 0 ? -INFINITY : running.most[r];
  const float earlier = first == 0 ? 0.0f : running.total[r];
  peak = fmaxf(block_max(peak), before);
  float sum = 0;
#pragma unroll
  for (int f = 0; f < RowPart::kFours; ++f) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sum += expf(part.v[f][j] - peak);
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    running.most[r] = peak;
    running.total[r] = earlier * expf(before - peak) + sum;
    const int64_t target = targets[r] - first;
    if (target >= 0 && target < columns) {
      running.target_logit[r] = logits[r * stride + target];
    }
  }
}

__device__ void put_loss(int64_t r, float log_total, float target_logit, const int32_t* targets,
                         int64_t vocab, float* losses) {
  if (targets[r] < 0) {
    losses[r] = 0;
  } else {
    losses[r] = targets[r] < vocab ? log_total - target_logit : NAN;
  }
}

__global__ void losses_of(const float* lse, const float* target_logit, const int32_t* targets,
                          int64_t vocab, int64_t n, float* losses) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r < n) {
    put_loss(r, lse[r], target_logit[r], targets, vocab, losses);
  }
}

__global__ void finish_losses(Running running, const int32_t* targets, int64_t vocab, int64_t n,
                              float* losses, float* lse) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= n) {
    return;
  }
  const float log_total = running.most[r] + logf(running.total[r]);
  put_loss(r, log_total, running.target_logit[r], targets, vocab, losses);
  if (lse != nullptr) {
    lse[r] = log_total;
  }
}

// Logits to d_loss · (softmax − onehot), into `out` of the same shape: the logits themselves, or
// bf16.
__global__ void __launch_bounds__(kBlock)
    logit_gradients(const float* logits, int64_t columns, int64_t stride, int64_t first,
                    const int32_t* targets, const float* lse, const float* d_losses, Any out) {
  const int64_t r = blockIdx.x;
  const int32_t target = targets[r];
  const float weight = target < 0 ? 0.0f : d_losses[r];
  const float log_total = lse[r];
  const RowPart part(logits + r * stride, columns);
#pragma unroll
  for (int f = 0; f < RowPart::kFours; ++f) {
    const int64_t i = RowPart::column(f);
    float g[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      g[j] =
          target < 0
              ? 0.0f
              : weight * (expf(part.v[f][j] - log_total) - (first + i + j == target ? 1.0f : 0.0f));
    }
    if (i < stride) {  // rows are padded to whole fours
      out.set4(r * stride + i, g[0], g[1], g[2], g[3]);
    }
  }
}

// Calls fn(first row, rows) for chunks of rows.
template <typename Fn>
void each_chunk(int64_t total, int64_t step, const Fn& fn) {
  for (int64_t at = 0; at < total; at += step) {
    fn(at, std::min(at + step, total));
  }
}

// The factors as the kernels of registers_cuda.cuh read them, or nothing.
std::optional<LinearCrossEntropyArgs> for_registers(const ExecutionContext& ctx,
                                                    const LinearCrossEntropyArgs& a) {
  if (ctx.compute != Compute::bf16 || is_quantised(a.head.dtype())) {
    return {};
  }
  LinearCrossEntropyArgs out = a;
  out.hidden = as_factor(ctx, a.hidden);
  return logits_fit(ctx, out.hidden, a.head) ? std::optional(out) : std::nullopt;
}

bool forward_in_registers(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a) {
  const auto args = for_registers(ctx, a);
  if (!args) {
    return false;
  }
  const int64_t n = a.hidden.dim(0);
  const Tensor lse = a.lse.defined() ? a.lse : ctx.make(Dtype::f32, {n});
  const Tensor target_logit = ctx.make(Dtype::f32, {n});
  if (!logits_forward(ctx, *args, lse.data<float>(), target_logit.data<float>())) {
    return false;
  }
  launch(ctx, "losses_of", threads_for(n), losses_of, lse.data<float>(), target_logit.data<float>(),
         a.targets.data<int32_t>(), a.head.dim(0), n, a.losses.data<float>());
  return true;
}

constexpr int64_t kGradientBytes = int64_t{512} << 20;  // of gradients of logits at a time

// Two whole products a chunk of rows, over the whole vocabulary.
bool backward_in_registers(const ExecutionContext& ctx, const LinearCrossEntropyBackwardArgs& b) {
  const auto args = for_registers(ctx, b.forward);
  if (!args || b.d_hidden.stride(1) != 1) {
    return false;
  }
  const int64_t n = args->hidden.dim(0);
  const int64_t vocab = args->head.dim(0);
  const int64_t stride = div_up(vocab, 8) * 8;
  const int64_t chunks = div_up(n, std::max<int64_t>(128, kGradientBytes / (2 * stride)));
  const int64_t step = div_up(div_up(n, chunks), 128) * 128;
  const Tensor gradients = ctx.make(Dtype::bf16, {std::min(step, div_up(n, 8) * 8), stride});
  for (int64_t r = 0; r < n; r += step) {
    const int64_t end = std::min(r + step, n);
    LinearCrossEntropyArgs part = *args;
    part.hidden = args->hidden.slice(0, r, end);
    part.targets = args->targets.slice(0, r, end);
    part.lse = args->lse.slice(0, r, end);
    if (!logits_backward(ctx, part, b.d_losses.data<float>() + r, gradients)) {
      OB_CHECK(r == 0);
      return false;
    }
    const Tensor d_logits = gradients.slice(0, 0, end - r).slice(1, 0, vocab);
    multiply(ctx,
             {.a = d_logits, .b = part.head, .write = b.write, .c = b.d_hidden.slice(0, r, end)});
    if (b.d_head.defined()) {
      multiply(ctx, {.a = d_logits,
                     .transpose_a = Transpose::yes,
                     .b = part.hidden,
                     .write = Write::accumulate,
                     .c = b.d_head});
    }
  }
  return true;
}

}  // namespace

void linear_cross_entropy(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a) {
  const int64_t n = a.hidden.dim(0);
  const int64_t vocab = a.head.dim(0);
  if (n == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  if (forward_in_registers(ctx, a)) {
    return;
  }
  const int64_t rows_step = std::min(kRowsPerChunk, n);
  const int64_t vocab_step = std::min(kVocabPerChunk, div_up(vocab, 8) * 8);
  const Tensor hidden = as_factor(ctx, a.hidden);
  const Tensor logits = ctx.make(Dtype::f32, {rows_step, vocab_step});
  const Tensor state = ctx.make(Dtype::f32, {3, n});
  float* const base = state.data<float>();
  each_chunk(vocab, vocab_step, [&](int64_t first, int64_t end) {
    backend::ArenaScope pass(*ctx.arena);
    const Tensor head = as_factor(ctx, a.head.slice(0, first, end));
    each_chunk(n, rows_step, [&](int64_t r, int64_t r_end) {
      multiply(ctx, {.a = hidden.slice(0, r, r_end),
                     .b = head,
                     .transpose_b = Transpose::yes,
                     .c = logits.slice(0, 0, r_end - r).slice(1, 0, end - first)});
      launch(ctx, "take_logits", {dim3(blocks_x(r_end - r)), dim3(kBlock)}, take_logits,
             logits.data<float>(), end - first, vocab_step, first, a.targets.data<int32_t>() + r,
             Running{base + r, base + n + r, base + 2 * n + r});
    });
  });
  launch(ctx, "finish_losses", threads_for(n), finish_losses, Running{base, base + n, base + 2 * n},
         a.targets.data<int32_t>(), vocab, n, a.losses.data<float>(),
         a.lse.defined() ? a.lse.data<float>() : nullptr);
}

void linear_cross_entropy_backward(const ExecutionContext& ctx,
                                   const LinearCrossEntropyBackwardArgs& a) {
  const LinearCrossEntropyArgs& f = a.forward;
  const int64_t n = f.hidden.dim(0);
  const int64_t vocab = f.head.dim(0);
  if (n == 0) {
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  if (backward_in_registers(ctx, a)) {
    return;
  }
  const int64_t rows_step = std::min(kRowsPerChunk, n);
  const int64_t vocab_step = std::min(kVocabPerChunk, div_up(vocab, 8) * 8);
  const Tensor hidden = as_factor(ctx, f.hidden);
  const Tensor logits = ctx.make(Dtype::f32, {rows_step, vocab_step});
  const Tensor gradients =
      factor_dtype(ctx) == Dtype::f32 ? logits : ctx.make(Dtype::bf16, {rows_step, vocab_step});
  // A sum over chunks of the vocabulary needs f32.
  const bool direct = a.d_hidden.dtype() == Dtype::f32;
  const Tensor wide = direct ? Tensor() : ctx.make(Dtype::f32, {rows_step, f.hidden.dim(1)});
  each_chunk(n, rows_step, [&](int64_t r, int64_t r_end) {
    const Tensor target_rows = a.d_hidden.slice(0, r, r_end);
    const Tensor d_hidden = direct ? target_rows : wide.slice(0, 0, r_end - r);
    each_chunk(vocab, vocab_step, [&](int64_t first, int64_t end) {
      backend::ArenaScope pass(*ctx.arena);
      const Tensor head = as_factor(ctx, f.head.slice(0, first, end));
      const Tensor part = logits.slice(0, 0, r_end - r).slice(1, 0, end - first);
      multiply(
          ctx,
          {.a = hidden.slice(0, r, r_end), .b = head, .transpose_b = Transpose::yes, .c = part});
      launch(ctx, "logit_gradients", {dim3(blocks_x(r_end - r)), dim3(kBlock)}, logit_gradients,
             logits.data<float>(), end - first, vocab_step, first, f.targets.data<int32_t>() + r,
             f.lse.data<float>() + r, a.d_losses.data<float>() + r, elements<Any>(gradients));
      const Tensor d_logits = gradients.slice(0, 0, r_end - r).slice(1, 0, end - first);
      const bool adds = first > 0 || (direct && a.write == Write::accumulate);
      multiply(ctx, {.a = d_logits,
                     .b = head,
                     .write = adds ? Write::accumulate : Write::overwrite,
                     .c = d_hidden});
      if (a.d_head.defined()) {
        multiply(ctx, {.a = d_logits,
                       .transpose_a = Transpose::yes,
                       .b = hidden.slice(0, r, r_end),
                       .write = Write::accumulate,
                       .c = a.d_head.slice(0, first, end)});
      }
    });
    if (!direct) {
      copy(ctx, {.x = d_hidden, .write = a.write, .out = target_rows});
    }
  });
}

}  // namespace offbook::ops::cuda
