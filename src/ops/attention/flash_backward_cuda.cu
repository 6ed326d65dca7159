#include "src/ops/attention/kernels_cuda.cuh"
#include "src/ops/attention/tiles_cuda.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kTile = 64;  // queries or keys that a block owns, and that stream past it
constexpr int kStep = 32;  // columns of scores in registers at a time

struct Operands {
  const bf16 *q, *k, *v, *d_out;
  Any d_q, d_k, d_v;
  HeadStrides q_strides, d_out_strides, d_q_strides, d_k_strides, d_v_strides;
  const float* lse;    // [n, heads]
  const float* delta;  // [n, heads]
  int heads, group;
  float scale;
};

// to[row, …] += what the warp holds for rows `row` + g and + 8 of a [16, kDim] matrix.
template <int kDim>
__device__ void add_rows(const Any& base, int64_t row_stride, int valid_rows,
                         const float (&sums)[kDim / 8][4]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = g + half * 8;
    if (row < valid_rows) {
      const Any to = base.at(row * row_stride);
#pragma unroll
      for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int i = d * 8 + 2 * t + e;
          to.set(i, to.get(i) + sums[d][2 * half + e]);
        }
      }
    }
  }
}

// d_q of 64 queries of one head; keys and values stream past, two tiles at a time.
template <int kDim>
__global__ void __launch_bounds__(kThreads) query_gradient(Operands o, PackedKeys keys) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int s = blockIdx.z;
  const SequenceView view = keys.view(s);
  const int q0 = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kTile;
  if (q0 >= view.length) {
    return;
  }
  const int head = blockIdx.y;
  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  constexpr uint32_t kBytes = kTile * kDim * 2;
  const uint32_t q_tile = shared_address(shared);
  const uint32_t d_tile = q_tile + kBytes;
  const uint32_t k_tile = d_tile + kBytes;
  const uint32_t v_tile = k_tile + 2 * kBytes;
  const int first_position = view.first_position + q0;
  const int last_position = view.first_position + min(view.length, q0 + kTile) - 1;
  const int begin = keys.tile_of<kTile>(s, keys.lo(first_position));
  const int end = keys.tile_of<kTile>(s, keys.hi(last_position, view.count) - 1) + 1;
  const int kv = head / o.group;
  const auto fetch = [&](int index, int stage) {
    int64_t row;
    int position, rows;
    keys.tile<kTile>(s, index, row, position, rows);
    load_tile<kDim, kTile, kThreads>(k_tile + stage * kBytes,
                                     o.k + row * keys.k.row + kv * keys.k.head, keys.k.row, rows);
    load_tile<kDim, kTile, kThreads>(v_tile + stage * kBytes,
                                     o.v + row * keys.v.row + kv * keys.v.head, keys.v.row, rows);
  };
  const int64_t n0 = view.query_begin + q0;
  load_tile<kDim, kTile, kThreads>(q_tile, o.q + n0 * o.q_strides.row + head * o.q_strides.head,
                                   o.q_strides.row, view.length - q0);
  load_tile<kDim, kTile, kThreads>(d_tile,
                                   o.d_out + n0 * o.d_out_strides.row + head * o.d_out_strides.head,
                                   o.d_out_strides.row, view.length - q0);
  fetch(begin, 0);
  commit_copies();
  float lse2[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + g + half * 8;
    const bool inside = q0 + row < view.length;
    lse2[half] = inside ? o.lse[(n0 + row) * o.heads + head] * kLog2e : INFINITY;
    delta[half] = inside ? o.delta[(n0 + row) * o.heads + head] : 0.0f;
  }
  const float scale2 = o.scale * kLog2e;
  float sums[kDim / 8][4] = {};
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
    int64_t row;
    int position, rows;
    keys.tile<kTile>(s, index, row, position, rows);
#pragma unroll
    for (int step = 0; step < kTile; step += kStep) {
      float scores[kStep / 8][4], d_scores[kStep / 8][4];
      multiply_rows<kDim, kStep>(scores, q_tile, warp * 16, k_tile + stage * kBytes, step);
      multiply_rows<kDim, kStep>(d_scores, d_tile, warp * 16, v_tile + stage * kBytes, step);
#pragma unroll
      for (int n = 0; n < kStep / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = step + n * 8 + 2 * t + e % 2;
          const int key = position + column;
          const int at = first_position + warp * 16 + g + e / 2 * 8;
          const bool seen = column < rows && key < keys.hi(at, view.count) && key >= keys.lo(at);
          const float p = seen ? power_of_two(scores[n][e] * scale2 - lse2[e / 2]) : 0.0f;
          scores[n][e] = p * (d_scores[n][e] - delta[e / 2]) * o.scale;
        }
      }
      multiply_scores<kDim, kStep>(sums, scores, k_tile + stage * kBytes, step);
    }
    __syncthreads();
  }
  add_rows<kDim>(o.d_q.at((n0 + warp * 16) * o.d_q_strides.row + head * o.d_q_strides.head),
                 o.d_q_strides.row, view.length - q0 - warp * 16, sums);
}

// d_k and d_v of 64 neighbouring rows of one key head. The block goes through every sequence that
// reads the rows, as its own keys or as prefix, every head of the group and every tile of queries,
// in order: no atomics, the same bits each time.
template <int kDim>
class KeyGradient {
 public:
  __device__ KeyGradient(const Operands& o, const PackedKeys& keys, uint8_t* shared, int64_t rows)
      : o_(o),
        keys_(keys),
        row0_(static_cast<int64_t>(blockIdx.x) * kTile),
        valid_(static_cast<int>(min(static_cast<int64_t>(kTile), rows - row0_))),
        kv_(blockIdx.y) {
    k_tile_ = shared_address(shared);
    v_tile_ = k_tile_ + kBytes;
    q_tile_ = v_tile_ + kBytes;
    d_tile_ = q_tile_ + kBytes;
    row_lse_ = reinterpret_cast<float*>(shared + 4 * kBytes);
    row_delta_ = row_lse_ + kTile;
  }

  __device__ void run(int sequences) {
    load_tile<kDim, kTile, kThreads>(k_tile_, o_.k + row0_ * keys_.k.row + kv_ * keys_.k.head,
                                     keys_.k.row, valid_);
    load_tile<kDim, kTile, kThreads>(v_tile_, o_.v + row0_ * keys_.v.row + kv_ * keys_.v.head,
                                     keys_.v.row, valid_);
    commit_copies();
    for (int s = 0; s < sequences; ++s) {
      const AttentionSequence& q = keys_.sequence(s);
      segment(s, q.prefix_begin, q.prefix_len, 0);
      segment(s, q.own_begin, q.length, q.prefix_len);
    }
    wait_copies<0>();
    const int warp = threadIdx.x / 32;
    const int64_t row = row0_ + warp * 16;
    add_rows<kDim>(o_.d_k.at(row * o_.d_k_strides.row + kv_ * o_.d_k_strides.head),
                   o_.d_k_strides.row, valid_ - warp * 16, dk_);
    add_rows<kDim>(o_.d_v.at(row * o_.d_v_strides.row + kv_ * o_.d_v_strides.head),
                   o_.d_v_strides.row, valid_ - warp * 16, dv_);
  }

  static constexpr uint32_t kBytes = kTile * kDim * 2;
  static constexpr size_t kShared = 4 * kBytes + 2 * kTile * sizeof(float);

 private:
  // What sequence s gives through `count` of its keys, which stand from row `begin` on and have the
  // positions from `position` on.
  __device__ void segment(int s, int64_t begin, int count, int position) {
    const int first_row = static_cast<int>(max(begin - row0_, static_cast<int64_t>(0)));
    const int last_row = static_cast<int>(min(begin + count - row0_, static_cast<int64_t>(kTile)));
    if (first_row >= last_row) {
      return;
    }
    const SequenceView view = keys_.view(s);
    const int row0_position = position + static_cast<int>(row0_ - begin);
    const int first = keys_.causal ? max(0, row0_position + first_row - view.first_position) : 0;
    const int last =
        keys_.window > 0
            ? min(view.length, row0_position + last_row - 1 + keys_.window - view.first_position)
            : view.length;
    for (int head = kv_ * o_.group; head < (kv_ + 1) * o_.group; ++head) {
      for (int q0 = first; q0 < last; q0 += kTile) {
        fetch(view, head, q0);
        tile(view, q0, row0_position, first_row, last_row);
        __syncthreads();  // before the next fetch
      }
    }
  }

  __device__ void fetch(const SequenceView& view, int head, int q0) {
    const int64_t n0 = view.query_begin + q0;
    const int rows = view.length - q0;
    load_tile<kDim, kTile, kThreads>(
        q_tile_, o_.q + n0 * o_.q_strides.row + head * o_.q_strides.head, o_.q_strides.row, rows);
    load_tile<kDim, kTile, kThreads>(
        d_tile_, o_.d_out + n0 * o_.d_out_strides.row + head * o_.d_out_strides.head,
        o_.d_out_strides.row, rows);
    commit_copies();
    if (threadIdx.x < kTile) {
      const int i = threadIdx.x;
      row_lse_[i] = i < rows ? o_.lse[(n0 + i) * o_.heads + head] * kLog2e : INFINITY;
      row_delta_[i] = i < rows ? o_.delta[(n0 + i) * o_.heads + head] : 0.0f;
    }
    wait_copies<0>();
    __syncthreads();
  }

  __device__ void tile(const SequenceView& view, int q0, int row0_position, int first_row,
                       int last_row) {
    const int warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
    const float scale2 = o_.scale * kLog2e;
#pragma unroll 1
    for (int step = 0; step < kTile; step += kStep) {
      float scores[kStep / 8][4], d_scores[kStep / 8][4];
      multiply_rows<kDim, kStep>(scores, k_tile_, warp * 16, q_tile_, step);
      multiply_rows<kDim, kStep>(d_scores, v_tile_, warp * 16, d_tile_, step);
#pragma unroll
      for (int n = 0; n < kStep / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int query = step + n * 8 + 2 * t + e % 2;
          const int row = warp * 16 + g + e / 2 * 8;
          const int at = view.first_position + q0 + query;
          const int key = row0_position + row;
          const bool seen = row >= first_row && row < last_row && key < keys_.hi(at, view.count) &&
                            key >= keys_.lo(at);
          const float p = seen ? power_of_two(scores[n][e] * scale2 - row_lse_[query]) : 0.0f;
          scores[n][e] = p;
          d_scores[n][e] = p * (d_scores[n][e] - row_delta_[query]) * o_.scale;
        }
      }
      multiply_scores<kDim, kStep>(dv_, scores, d_tile_, step);
      multiply_scores<kDim, kStep>(dk_, d_scores, q_tile_, step);
    }
  }

  const Operands& o_;
  const PackedKeys& keys_;
  int64_t row0_;
  int valid_;
  int kv_;
  uint32_t k_tile_, v_tile_, q_tile_, d_tile_;
  float* row_lse_;
  float* row_delta_;
  float dk_[kDim / 8][4] = {};
  float dv_[kDim / 8][4] = {};
};

template <int kDim>
__global__ void __launch_bounds__(kThreads)
    key_gradient(const __grid_constant__ Operands o, const __grid_constant__ PackedKeys keys,
                 int sequences, int64_t rows) {
  extern __shared__ __align__(128) uint8_t shared[];
  KeyGradient<kDim> work(o, keys, shared, rows);
  work.run(sequences);
}

template <int kDim>
void backward(const ExecutionContext& ctx, const AttentionArgs& f, const Operands& o) {
  const auto sequences = static_cast<unsigned>(f.sequences.dim(0));
  launch(ctx, "query_gradient",
         {dim3(blocks_x(div_up(f.max_length, kTile)), static_cast<unsigned>(o.heads), sequences),
          dim3(kThreads), 6 * size_t{kTile} * kDim * 2},
         query_gradient<kDim>, o, packed_keys(f));
  launch(ctx, "key_gradient",
         {dim3(blocks_x(div_up(f.k.dim(0), kTile)), static_cast<unsigned>(f.k.dim(1))),
          dim3(kThreads), KeyGradient<kDim>::kShared},
         key_gradient<kDim>, o, packed_keys(f), static_cast<int>(sequences), f.k.dim(0));
}

}  // namespace

void attention_backward_flash(const ExecutionContext& ctx, const AttentionBackwardArgs& a,
                              const Tensor& delta) {
  const AttentionArgs& f = a.forward;
  const Operands o{.q = f.q.data<bf16>(),
                   .k = f.k.data<bf16>(),
                   .v = f.v.data<bf16>(),
                   .d_out = a.d_out.data<bf16>(),
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
                   .group = static_cast<int>(f.q.dim(1) / f.k.dim(1)),
                   .scale = f.scale};
  if (f.q.dim(2) == 128) {
    backward<128>(ctx, f, o);
  } else {
    backward<64>(ctx, f, o);
  }
}

}  // namespace offbook::ops::cuda
