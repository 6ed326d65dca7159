#include "src/ops/attention/kernels_cuda.cuh"
#include "src/ops/cuda/reduce.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostDim = 512;  // of a head: a lane keeps one in 32 of its sums in registers
constexpr int kDimsPerLane = kMostDim / 32;

__device__ float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  }
  return x;
}

// A warp for each (query, head): 32 keys at a time, a lane for each, with f32 sums.
template <class Keys>
__global__ void __launch_bounds__(32 * kWarps)
    attention_query_per_warp(Any q, Any k, Any v, Any out, Keys keys, AttentionShape shape,
                             int skip_rows) {
  extern __shared__ float shared[];
  const int s = blockIdx.z;
  const SequenceView view = keys.view(s);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int t = blockIdx.x * kWarps + warp;
  if (t >= view.length || view.length * shape.group <= skip_rows) {
    return;
  }
  const int head = blockIdx.y;
  const int64_t n = view.query_begin + t;
  float* query = shared + warp * shape.dim;
  const Any q_row = q.at(n * shape.q.row + head * shape.q.head);
  for (int i = lane; i < shape.dim; i += 32) {
    query[i] = q_row.get(i);
  }
  __syncwarp();
  const int position = view.first_position + t;
  const int hi = keys.hi(position, view.count);
  const int64_t k_head = head / shape.group * keys.k.head;
  const int64_t v_head = head / shape.group * keys.v.head;
  float most = -INFINITY;
  float total = 0;
  float sums[kDimsPerLane] = {};
  for (int base = keys.lo(position); base < hi; base += 32) {
    const int key = base + lane;
    float score = -INFINITY;
    int64_t row = 0;
    if (key < hi) {
      row = keys.row(s, key);
      const Any k_row = k.at(row * keys.k.row + k_head);
      float dot = 0;
      for (int i = 0; i < shape.dim; ++i) {
        dot = fmaf(query[i], k_row.get(i), dot);
      }
      score = dot * shape.scale;
    }
    const float peak = fmaxf(most, warp_max(score));
    const float shrink = expf(most - peak);
    const float p = expf(score - peak);
    most = peak;
    total = total * shrink + warp_sum(p);
#pragma unroll
    for (int d = 0; d < kDimsPerLane; ++d) {
      sums[d] *= shrink;
    }
    for (int j = 0; j < min(32, hi - base); ++j) {
      const float weight = __shfl_sync(0xffffffffu, p, j);
      const Any v_row = v.at(__shfl_sync(0xffffffffu, row, j) * keys.v.row + v_head);
#pragma unroll
      for (int d = 0; d < kDimsPerLane; ++d) {
        if (d * 32 + lane < shape.dim) {
          sums[d] = fmaf(weight, v_row.get(d * 32 + lane), sums[d]);
        }
      }
    }
  }
  const Any out_row = out.at(n * shape.out.row + head * shape.out.head);
#pragma unroll
  for (int d = 0; d < kDimsPerLane; ++d) {
    if (d * 32 + lane < shape.dim) {
      out_row.set(d * 32 + lane, sums[d] / total);
    }
  }
  if (shape.lse != nullptr && lane == 0) {
    shape.lse[n * shape.heads + head] = most + logf(total);
  }
}

}  // namespace

template <class Keys>
void attention_any(const ExecutionContext& ctx, const ForwardPass<Keys>& p) {
  OB_REQUIRE(p.shape.dim <= kMostDim, Unsupported,
             "attention on cuda: heads of at most {} values, not {}", kMostDim, p.shape.dim);
  launch(ctx, "attention_query_per_warp",
         {dim3(blocks_x(div_up(p.max_length, kWarps)), static_cast<unsigned>(p.shape.heads),
               static_cast<unsigned>(p.sequences)),
          dim3(32 * kWarps), static_cast<size_t>(p.shape.dim) * kWarps * sizeof(float)},
         attention_query_per_warp<Keys>, elements<Any>(p.q), elements<Any>(p.k), elements<Any>(p.v),
         elements<Any>(p.out), p.keys, p.shape, p.skip_rows);
}

template void attention_any(const ExecutionContext&, const ForwardPass<PackedKeys>&);
template void attention_any(const ExecutionContext&, const ForwardPass<PagedKeys>&);

}  // namespace offbook::ops::cuda
