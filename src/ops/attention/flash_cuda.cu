#include "src/ops/attention/kernels_cuda.cuh"
#include "src/ops/attention/tiles_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kQueries = 16 * kWarps;  // of a block
constexpr int kThreads = 32 * kWarps;

// Running softmax of the two rows that a thread shares with three others: g and g + 8 of its warp.
struct Softmax {
  float most[2] = {-INFINITY, -INFINITY};
  float total[2] = {};  // of this thread's columns

  // Scores (already times scale · log2 e) to probabilities; returns by how much earlier sums
  // shrink.
  __device__ void step(float (&s)[kKeyTile / 8][4], float (&shrink)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float peak = most[half];
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n) {
        peak = fmaxf(peak, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      }
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
      const float base = peak == -INFINITY ? 0.0f : peak;
      shrink[half] = power_of_two(most[half] - base);
      most[half] = peak;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n) {
        s[n][2 * half] = power_of_two(s[n][2 * half] - base);
        s[n][2 * half + 1] = power_of_two(s[n][2 * half + 1] - base);
        sum += s[n][2 * half] + s[n][2 * half + 1];
      }
      total[half] = total[half] * shrink[half] + sum;
    }
  }
  __device__ float sum_of_row(int half) const {
    float sum = total[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  }
};

// FlashAttention-2 (arXiv 2307.08691): a block keeps 128 queries of one head, keys and values
// stream through shared memory in tiles of 64, two at a time; scores and sums stay in registers.
template <int kDim, class Keys>
__global__ void __launch_bounds__(kThreads, kDim == 64 ? 2 : 1)
    flash_forward(const bf16* q, const bf16* k, const bf16* v, bf16* out, Keys keys,
                  AttentionShape shape, int skip_rows) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int s = blockIdx.z;
  const SequenceView view = keys.view(s);
  // Long rows of a causal mask first: the last blocks to start are then the short ones.
  const int q0 = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries;
  if (q0 >= view.length || view.length * shape.group <= skip_rows) {
    return;
  }
  const int head = blockIdx.y;
  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const uint32_t q_tile = shared_address(shared);
  const uint32_t k_tile = q_tile + kQueries * kDim * 2;
  const uint32_t v_tile = k_tile + 2 * kKeyTile * kDim * 2;
  constexpr uint32_t kStage = kKeyTile * kDim * 2;

  const int first_position = view.first_position + q0;
  const int last_position = view.first_position + min(view.length, q0 + kQueries) - 1;
  const int begin = keys.template tile_of<kKeyTile>(s, keys.lo(first_position));
  const int end = keys.template tile_of<kKeyTile>(s, keys.hi(last_position, view.count) - 1) + 1;
  const bf16* k_head = k + head / shape.group * keys.k.head;
  const bf16* v_head = v + head / shape.group * keys.v.head;
  const auto fetch = [&](int index, int stage) {
    int64_t row;
    int position, rows;
    keys.template tile<kKeyTile>(s, index, row, position, rows);
    load_tile<kDim, kKeyTile, kThreads>(k_tile + stage * kStage, k_head + row * keys.k.row,
                                        keys.k.row, rows);
    load_tile<kDim, kKeyTile, kThreads>(v_tile + stage * kStage, v_head + row * keys.v.row,
                                        keys.v.row, rows);
  };

  const bf16* q_rows = q + (view.query_begin + q0) * shape.q.row + head * shape.q.head;
  load_tile<kDim, kQueries, kThreads>(q_tile, q_rows, shape.q.row, view.length - q0);
  fetch(begin, 0);
  commit_copies();

  const float scale2 = shape.scale * kLog2e;
  uint32_t q_part[kDim / 16][4];
  float sums[kDim / 8][4] = {};
  Softmax softmax;
  for (int index = begin; index < end; ++index) {
    const int stage = (index - begin) % 2;
    if (index + 1 < end) {
      fetch(index + 1, stage ^ 1);
      commit_copies();
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    __syncthreads();
    if (index == begin) {
#pragma unroll
      for (int kk = 0; kk < kDim / 16; ++kk) {
        load_a<kDim>(q_part[kk], q_tile, warp * 16, kk * 2);
      }
    }
    float scores[kKeyTile / 8][4] = {};
#pragma unroll
    for (int kk = 0; kk < kDim / 16; ++kk) {
#pragma unroll
      for (int n = 0; n < kKeyTile / 16; ++n) {
        uint32_t b[4];
        load_b<kDim>(b, k_tile + stage * kStage, n * 16, kk * 2);
        mma_bf16(scores[2 * n], q_part[kk][0], q_part[kk][1], q_part[kk][2], q_part[kk][3], b[0],
                 b[1]);
        mma_bf16(scores[2 * n + 1], q_part[kk][0], q_part[kk][1], q_part[kk][2], q_part[kk][3],
                 b[2], b[3]);
      }
    }
    int64_t row;
    int position, rows;
    keys.template tile<kKeyTile>(s, index, row, position, rows);
    const bool whole = rows == kKeyTile &&
                       position + kKeyTile <= keys.hi(first_position, view.count) &&
                       position >= keys.lo(last_position);
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[n][e] *= scale2;
        if (!whole) {
          const int column = n * 8 + 2 * t + e % 2;
          const int key = position + column;
          const int at = first_position + warp * 16 + g + e / 2 * 8;
          if (column >= rows || key >= keys.hi(at, view.count) || key < keys.lo(at)) {
            scores[n][e] = -INFINITY;
          }
        }
      }
    }
    float shrink[2];
    softmax.step(scores, shrink);
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      sums[d][0] *= shrink[0];
      sums[d][1] *= shrink[0];
      sums[d][2] *= shrink[1];
      sums[d][3] *= shrink[1];
    }
    multiply_scores<kDim, kKeyTile>(sums, scores, v_tile + stage * kStage, 0);
    __syncthreads();  // before the next fetch writes where these tiles stand
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = softmax.sum_of_row(half);
    const int row = q0 + warp * 16 + g + half * 8;
    if (row < view.length) {
      const int64_t n = view.query_begin + row;
      const float divide = 1.0f / total;
      bf16* to = out + n * shape.out.row + head * shape.out.head + 2 * t;
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
        *reinterpret_cast<uint32_t*>(to + d * 8) =
            pack(sums[d][2 * half] * divide, sums[d][2 * half + 1] * divide);
      }
      if (shape.lse != nullptr && t == 0) {
        shape.lse[n * shape.heads + head] = (softmax.most[half] + log2f(total)) / kLog2e;
      }
    }
  }
}

}  // namespace

bool flash_fits(const ExecutionContext&, const Tensor& q, const Tensor& k, const Tensor& v,
                const Tensor& out) {
  const int64_t dim = q.dim(2);
  const auto fits = [](const Tensor& t) {
    const Tensor rows = t.rank() == 4 ? t.reshape({t.dim(0) * t.dim(1), t.dim(2), t.dim(3)}) : t;
    return t.dtype() == Dtype::bf16 && heads_aligned(rows);
  };
  return (dim == 64 || dim == 128) && fits(q) && fits(k) && fits(v) && fits(out);
}

template <class Keys>
void attention_flash(const ExecutionContext& ctx, const ForwardPass<Keys>& p) {
  const Launch shape{dim3(blocks_x(div_up(p.max_length, kQueries)),
                          static_cast<unsigned>(p.shape.heads), static_cast<unsigned>(p.sequences)),
                     dim3(kThreads),
                     static_cast<size_t>((kQueries + 4 * kKeyTile) * p.shape.dim * 2)};
  const auto run = [&](auto* kernel) {
    launch(ctx, "flash_forward", shape, kernel, p.q.template data<bf16>(),
           p.k.template data<bf16>(), p.v.template data<bf16>(), p.out.template data<bf16>(),
           p.keys, p.shape, p.skip_rows);
  };
  if (p.shape.dim == 128) {
    run(flash_forward<128, Keys>);
  } else {
    run(flash_forward<64, Keys>);
  }
}

template void attention_flash(const ExecutionContext&, const ForwardPass<PackedKeys>&);
template void attention_flash(const ExecutionContext&, const ForwardPass<PagedKeys>&);

}  // namespace offbook::ops::cuda
