#include "src/ops/attention/kernels_cuda.cuh"
#include "src/ops/cuda/reduce.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostDim = 512;
constexpr int kDimsPerLane = kMostDim / 32;

// Tensors of a backward pass, as kernels see them.
struct Operands {
  Any q, k, v, d_out, d_q, d_k, d_v;
  HeadStrides q_strides, d_out_strides, d_q_strides, d_k_strides, d_v_strides;
  const float* lse;    // [n, heads]
  const float* delta;  // [n, heads]
  int heads, kv_heads, dim;
  float scale;
};

// What one pair of a query and a key gives: its probability, and the gradient of its score.
struct PairGradient {
  float p;
  float ds;
};

__device__ PairGradient pair_gradient(const Operands& o, int64_t n, int head, const Any& k_row,
                                      const Any& v_row) {
  const Any q_row = o.q.at(n * o.q_strides.row + head * o.q_strides.head);
  const Any d_row = o.d_out.at(n * o.d_out_strides.row + head * o.d_out_strides.head);
  float dot = 0;
  float dp = 0;
  for (int i = 0; i < o.dim; ++i) {
    dot = fmaf(q_row.get(i), k_row.get(i), dot);
    dp = fmaf(d_row.get(i), v_row.get(i), dp);
  }
  const float p = expf(dot * o.scale - o.lse[n * o.heads + head]);
  return {p, p * (dp - o.delta[n * o.heads + head]) * o.scale};
}

// d_q: a warp for each (query, head), a lane for each of 32 keys.
__global__ void __launch_bounds__(32 * kWarps) query_gradient_any(Operands o, PackedKeys keys) {
  const int s = blockIdx.z;
  const SequenceView view = keys.view(s);
  const int lane = threadIdx.x % 32;
  const int t = blockIdx.x * kWarps + threadIdx.x / 32;
  if (t >= view.length) {
    return;
  }
  const int head = blockIdx.y;
  const int kv = head / (o.heads / o.kv_heads);
  const int64_t n = view.query_begin + t;
  const int position = view.first_position + t;
  const int hi = keys.hi(position, view.count);
  float sums[kDimsPerLane] = {};
  for (int base = keys.lo(position); base < hi; base += 32) {
    float ds = 0;
    int64_t row = 0;
    if (base + lane < hi) {
      row = keys.row(s, base + lane);
      ds = pair_gradient(o, n, head, o.k.at(row * keys.k.row + kv * keys.k.head),
                         o.v.at(row * keys.v.row + kv * keys.v.head))
               .ds;
    }
    for (int j = 0; j < min(32, hi - base); ++j) {
      const float g = __shfl_sync(0xffffffffu, ds, j);
      const Any k_row = o.k.at(__shfl_sync(0xffffffffu, row, j) * keys.k.row + kv * keys.k.head);
#pragma unroll
      for (int d = 0; d < kDimsPerLane; ++d) {
        if (d * 32 + lane < o.dim) {
          sums[d] = fmaf(g, k_row.get(d * 32 + lane), sums[d]);
        }
      }
    }
  }
  const Any to = o.d_q.at(n * o.d_q_strides.row + head * o.d_q_strides.head);
#pragma unroll
  for (int d = 0; d < kDimsPerLane; ++d) {
    if (d * 32 + lane < o.dim) {
      to.set(d * 32 + lane, to.get(d * 32 + lane) + sums[d]);
    }
  }
}

// Queries of a sequence that see the key at a position: first…last-1, as rows of the sequence.
__device__ void queries_of(const PackedKeys& keys, const SequenceView& view, int position,
                           int& first, int& last) {
  first = keys.causal ? max(0, position - view.first_position) : 0;
  last = keys.window > 0 ? min(view.length, position + keys.window - view.first_position)
                         : view.length;
}

// Adds to d_k and d_v of one row what the queries of sequence s give, for every head of its group.
__device__ void add_key_gradient(const Operands& o, const PackedKeys& keys,
                                 const SequenceView& view, int position, int64_t row, int kv,
                                 float (&dk)[kDimsPerLane], float (&dv)[kDimsPerLane]) {
  const int lane = threadIdx.x % 32;
  const int group = o.heads / o.kv_heads;
  const Any k_row = o.k.at(row * keys.k.row + kv * keys.k.head);
  const Any v_row = o.v.at(row * keys.v.row + kv * keys.v.head);
  int first, last;
  queries_of(keys, view, position, first, last);
  for (int head = kv * group; head < (kv + 1) * group; ++head) {
    for (int base = first; base < last; base += 32) {
      PairGradient mine{0, 0};
      if (base + lane < last) {
        mine = pair_gradient(o, view.query_begin + base + lane, head, k_row, v_row);
      }
      for (int j = 0; j < min(32, last - base); ++j) {
        const float p = __shfl_sync(0xffffffffu, mine.p, j);
        const float ds = __shfl_sync(0xffffffffu, mine.ds, j);
        const int64_t n = view.query_begin + base + j;
        const Any q_row = o.q.at(n * o.q_strides.row + head * o.q_strides.head);
        const Any d_row = o.d_out.at(n * o.d_out_strides.row + head * o.d_out_strides.head);
#pragma unroll
        for (int d = 0; d < kDimsPerLane; ++d) {
          const int i = d * 32 + lane;
          if (i < o.dim) {
            dk[d] = fmaf(ds, q_row.get(i), dk[d]);
            dv[d] = fmaf(p, d_row.get(i), dv[d]);
          }
        }
      }
    }
  }
}

// d_k and d_v: a warp for each (row, key head), which goes through all sequences that read the row,
// in order: several may share it as prefix.
__global__ void __launch_bounds__(32 * kWarps)
    key_gradient_any(Operands o, PackedKeys keys, int sequences, int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= rows) {
    return;
  }
  const int lane = threadIdx.x % 32;
  const int kv = blockIdx.y;
  float dk[kDimsPerLane] = {};
  float dv[kDimsPerLane] = {};
  for (int s = 0; s < sequences; ++s) {
    const AttentionSequence& q = keys.sequence(s);
    if (row >= q.prefix_begin && row < q.prefix_begin + q.prefix_len) {
      add_key_gradient(o, keys, keys.view(s), static_cast<int>(row - q.prefix_begin), row, kv, dk,
                       dv);
    }
    if (row >= q.own_begin && row < q.own_begin + q.length) {
      add_key_gradient(o, keys, keys.view(s), q.prefix_len + static_cast<int>(row - q.own_begin),
                       row, kv, dk, dv);
    }
  }
  const Any dk_row = o.d_k.at(row * o.d_k_strides.row + kv * o.d_k_strides.head);
  const Any dv_row = o.d_v.at(row * o.d_v_strides.row + kv * o.d_v_strides.head);
#pragma unroll
  for (int d = 0; d < kDimsPerLane; ++d) {
    const int i = d * 32 + lane;
    if (i < o.dim) {
      dk_row.set(i, dk_row.get(i) + dk[d]);
      dv_row.set(i, dv_row.get(i) + dv[d]);
    }
  }
}

}  // namespace

void attention_backward_any(const ExecutionContext& ctx, const AttentionBackwardArgs& a,
                            const Tensor& delta) {
  const AttentionArgs& f = a.forward;
  OB_REQUIRE(f.q.dim(2) <= kMostDim, Unsupported,
             "attention_backward on cuda: heads of at most {} values, not {}", kMostDim,
             f.q.dim(2));
  const Operands o{.q = elements<Any>(f.q),
                   .k = elements<Any>(f.k),
                   .v = elements<Any>(f.v),
                   .d_out = elements<Any>(a.d_out),
                   .d_q = elements<Any>(a.d_q),
                   .d_k = elements<Any>(a.d_k),
                   .d_v = elements<Any>(a.d_v),
                   .q_strides = head_strides(f.q),
                   .d_out_strides = head_strides(a.d_out),
                   .d_q_strides = head_strides(a.d_q),
                   .d_k_strides = head_strides(a.d_k),
                   .d_v_strides = head_strides(a.d_v),
                   .lse = f.lse.data<float>(),
                   .delta = delta.data<float>(),
                   .heads = static_cast<int>(f.q.dim(1)),
                   .kv_heads = static_cast<int>(f.k.dim(1)),
                   .dim = static_cast<int>(f.q.dim(2)),
                   .scale = f.scale};
  const auto sequences = static_cast<unsigned>(f.sequences.dim(0));
  launch(ctx, "query_gradient_any",
         {dim3(blocks_x(div_up(f.max_length, kWarps)), static_cast<unsigned>(o.heads), sequences),
          dim3(32 * kWarps)},
         query_gradient_any, o, packed_keys(f));
  launch(ctx, "key_gradient_any",
         {dim3(blocks_x(div_up(f.k.dim(0), kWarps)), static_cast<unsigned>(o.kv_heads)),
          dim3(32 * kWarps)},
         key_gradient_any, o, packed_keys(f), static_cast<int>(sequences), f.k.dim(0));
}

}  // namespace offbook::ops::cuda
