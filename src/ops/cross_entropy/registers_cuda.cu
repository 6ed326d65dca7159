#include "src/ops/cross_entropy/registers_cuda.cuh"
#include "src/ops/cuda/wgmma.cuh"

namespace offbook::ops::cuda {
namespace {

constexpr int kRows = 128;   // of hidden, for a block: 64 for each of two warpgroups
constexpr int kVocab = 128;  // of a tile of the head
constexpr int kStages = 4;   // pieces [kVocab, 64] of the head under way
constexpr int kSteps = 9;    // of 64 columns: the width 576 of SmolLM2-135M
constexpr int kPieceBytes = kVocab * kTileColumns * 2;
constexpr int kThreads = 384;  // copying, and two that compute
constexpr int kComputeWarps = 8;
constexpr size_t kShared =
    size_t{kSteps + kStages} * kPieceBytes + 1024;  // tiles lie on 1024 bytes
static_assert(kRows == kVocab);

constexpr float kLog2e = 1.4426950408889634f;

__device__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

struct Logits {
  int64_t n;
  int vocab;
  int row_blocks;
  int splits;  // of the vocabulary
  int tiles_per_split;
  const int32_t* targets;
  // forward
  float2* parts;  // [splits, n]: largest logit · log2 e, Σ 2^(logit · log2 e − largest)
  float* target_logit;
  // backward
  const float* lse;
  const float* d_losses;
  bf16* gradients;
  int64_t gradient_stride;
};

// A thread's two rows of the 64 of its warpgroup: lane / 4 and 8 below. Every lane keeps the sum
// over its own columns; the four lanes of a row meet at the end.
struct ForwardRows {
  float most[2] = {-INFINITY, -INFINITY};
  float total[2] = {};

  __device__ void start(const Logits&, int64_t, int, const int (&)[2]) {
    most[0] = most[1] = -INFINITY;
    total[0] = total[1] = 0;
  }
  // Columns 8 i… and 8 i + 8… of a tile.
  template <int kI>
  __device__ void take(const Logits& p, const float (&d)[64], int64_t row, int column,
                       const int (&target)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float v[4];
      float peak = most[h];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = column + 8 * (kI + j / 2) + j % 2;
        v[j] = d[4 * (kI + j / 2) + 2 * h + j % 2];
        if (at == target[h] && row + 8 * h < p.n) {
          p.target_logit[row + 8 * h] = v[j];
        }
        v[j] = at < p.vocab ? v[j] * kLog2e : -INFINITY;
        peak = fmaxf(peak, v[j]);
      }
      const float base = peak == -INFINITY ? 0.0f : peak;
      float sum = total[h] * power_of_two(most[h] - base);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sum += power_of_two(v[j] - base);
      }
      most[h] = peak;
      total[h] = sum;
    }
  }
  __device__ void finish(const Logits& p, int64_t row, int split) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float peak = most[h];
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
      const float base = peak == -INFINITY ? 0.0f : peak;
      float sum = total[h] * power_of_two(most[h] - base);
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (threadIdx.x % 4 == 0 && row + 8 * h < p.n) {
        p.parts[split * p.n + row + 8 * h] = make_float2(peak, sum);
      }
    }
  }
};

struct BackwardRows {
  float lse2[2] = {};  // · log2 e
  float weight[2] = {};

  __device__ void start(const Logits& p, int64_t row, int, const int (&target)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool inside = row + 8 * h < p.n;
      lse2[h] = inside ? p.lse[row + 8 * h] * kLog2e : 0.0f;
      weight[h] = inside && target[h] >= 0 ? p.d_losses[row + 8 * h] : 0.0f;
    }
  }
  template <int kI>
  __device__ void take(const Logits& p, const float (&d)[64], int64_t row, int column,
                       const int (&target)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (row + 8 * h >= p.n) {
        continue;
      }
      bf16* to = p.gradients + (row + 8 * h) * p.gradient_stride;
#pragma unroll
      for (int i = kI; i < kI + 2; ++i) {
        const int at = column + 8 * i;
        float g[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float v = d[4 * i + 2 * h + e];
          g[e] = weight[h] == 0.0f ? 0.0f
                                   : weight[h] * (power_of_two(fmaf(v, kLog2e, -lse2[h])) -
                                                  (at + e == target[h] ? 1.0f : 0.0f));
          g[e] = at + e < p.vocab ? g[e] : 0.0f;
        }
        if (at < p.gradient_stride) {  // rows are padded to whole eights, columns come in pairs
          *reinterpret_cast<uint32_t*>(to + at) = pack(g[0], g[1]);
        }
      }
    }
  }
  __device__ void finish(const Logits&, int64_t, int) {}
};

// Which part of the work an item is.
struct Item {
  int row_block;
  int split;
  int first_tile;
  int end_tile;
  __device__ Item(const Logits& p, int index) {
    row_block = index % p.row_blocks;
    split = index / p.row_blocks;
    const int tiles = (p.vocab + kVocab - 1) / kVocab;
    first_tile = split * p.tiles_per_split;
    end_tile = min(first_tile + p.tiles_per_split, tiles);
  }
};

struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  __device__ void next() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

struct Barriers {
  uint32_t full;
  uint32_t empty;
  uint32_t rows_full;
  uint32_t rows_empty;
};

__device__ void copy_pieces(const Logits& p, const CUtensorMap* hidden, const CUtensorMap* head,
                            uint32_t rows, uint32_t stages, const Barriers& b) {
  Ring ring;
  uint32_t rows_phase = 0;
  for (int index = blockIdx.x; index < p.row_blocks * p.splits;
       index += gridDim.x, rows_phase ^= 1) {
    const Item item(p, index);
    barrier_wait(b.rows_empty, rows_phase ^ 1);
    barrier_expect(b.rows_full, kSteps * kPieceBytes);
    for (int s = 0; s < kSteps; ++s) {
      copy_tile(rows + s * kPieceBytes, hidden, s * kTileColumns, item.row_block * kRows,
                b.rows_full);
    }
    for (int tile = item.first_tile; tile < item.end_tile; ++tile) {
      for (int s = 0; s < kSteps; ++s, ring.next()) {
        barrier_wait(b.empty + 8 * ring.stage, ring.phase ^ 1);
        barrier_expect(b.full + 8 * ring.stage, kPieceBytes);
        copy_tile(stages + ring.stage * kPieceBytes, head, s * kTileColumns, tile * kVocab,
                  b.full + 8 * ring.stage);
      }
    }
  }
}

// One warpgroup's side of the pipeline.
template <class Take>
struct Multiplier {
  const Logits& p;
  uint64_t rows;    // descriptor of the group's 64 rows, first piece
  uint64_t stages;  // descriptor of the first stage
  Barriers b;
  Ring ring;
  int pending = -1;  // stage whose products are under way
  int64_t row = 0;
  int target[2] = {-1, -1};
  Take take;

  __device__ void release() {
    if (pending >= 0 && threadIdx.x % 32 == 0) {
      barrier_arrive(b.empty + 8 * pending);
    }
  }

  // Products of the next tile into `sums`, while those of the tile before, in `done`, are taken in.
  template <bool kHasDone>
  __device__ void tile(float (&sums)[64], float (&done)[64], int done_tile) {
    const int column = done_tile * kVocab + threadIdx.x % 4 * 2;
    const auto step = [&](auto s) {
      constexpr int kStep = decltype(s)::value;
      barrier_wait(b.full + 8 * ring.stage, ring.phase);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        wgmma_m64n128(sums, rows + kStep * (kPieceBytes >> 4) + 2 * k,
                      stages + ring.stage * (kPieceBytes >> 4) + 2 * k, kStep + k > 0 ? 1 : 0);
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      pending = ring.stage;
      ring.next();
      if constexpr (kHasDone && kStep < 8) {
        if constexpr (kStep == 0) {
          pin(done);
        }
        take.template take<2 * kStep>(p, done, row, column, target);
      }
    };
    step(std::integral_constant<int, 0>{});
    step(std::integral_constant<int, 1>{});
    step(std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 3>{});
    step(std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 5>{});
    step(std::integral_constant<int, 6>{});
    step(std::integral_constant<int, 7>{});
    step(std::integral_constant<int, 8>{});
  }

  __device__ void last(float (&done)[64], int done_tile) {
    wgmma_wait<0>();
    release();
    pending = -1;
    pin(done);
    const int column = done_tile * kVocab + threadIdx.x % 4 * 2;
    take.template take<0>(p, done, row, column, target);
    take.template take<2>(p, done, row, column, target);
    take.template take<4>(p, done, row, column, target);
    take.template take<6>(p, done, row, column, target);
    take.template take<8>(p, done, row, column, target);
    take.template take<10>(p, done, row, column, target);
    take.template take<12>(p, done, row, column, target);
    take.template take<14>(p, done, row, column, target);
  }

  __device__ void run() {
    uint32_t rows_phase = 0;
    const int group = threadIdx.x / 128 - 1;
    for (int index = blockIdx.x; index < p.row_blocks * p.splits;
         index += gridDim.x, rows_phase ^= 1) {
      const Item item(p, index);
      row = static_cast<int64_t>(item.row_block) * kRows + group * 64 +
            threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        target[h] = row + 8 * h < p.n ? p.targets[row + 8 * h] : -1;
      }
      take.start(p, row, item.split, target);
      barrier_wait(b.rows_full, rows_phase);
      float even[64], odd[64];
      int at = item.first_tile;
      tile<false>(even, odd, 0);
      bool in_odd = false;
      for (++at; at < item.end_tile; ++at) {
        tile<true>(odd, even, at - 1);
        in_odd = true;
        if (++at < item.end_tile) {
          tile<true>(even, odd, at - 1);
          in_odd = false;
        } else {
          break;
        }
      }
      if (in_odd) {
        last(odd, item.end_tile - 1);
      } else {
        last(even, item.end_tile - 1);
      }
      if (threadIdx.x % 32 == 0) {
        barrier_arrive(b.rows_empty);
      }
      take.finish(p, row, item.split);
    }
  }
};

template <class Take>
__global__ void __launch_bounds__(kThreads, 1)
    logits_rows(const __grid_constant__ Logits p, const __grid_constant__ CUtensorMap hidden,
                const __grid_constant__ CUtensorMap head) {
  extern __shared__ uint8_t raw[];
  __shared__ __align__(8) uint64_t barriers[2 * kStages + 2];
  const uint32_t rows = (shared_address(raw) + 1023) / 1024 * 1024;
  const uint32_t stages = rows + kSteps * kPieceBytes;
  const uint32_t base = shared_address(barriers);
  const Barriers b{base, base + 8 * kStages, base + 16 * kStages, base + 16 * kStages + 8};
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(b.full + 8 * i, 1);
      barrier_init(b.empty + 8 * i, kComputeWarps);
    }
    barrier_init(b.rows_full, 1);
    barrier_init(b.rows_empty, kComputeWarps);
    barrier_init_done();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      copy_pieces(p, &hidden, &head, rows, stages, b);
    }
  } else {
    take_registers<232>();
    const int group = threadIdx.x / 128 - 1;
    Multiplier<Take>{.p = p,
                     .rows = tile_descriptor(rows + group * 64 * kTileColumns * 2),
                     .stages = tile_descriptor(stages),
                     .b = b,
                     .ring = {},
                     .take = {}}
        .run();
  }
}

// lse of a row from its splits, in their order.
__global__ void join_parts(const float2* parts, int splits, int64_t n, float* lse) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= n) {
    return;
  }
  float peak = -INFINITY;
  for (int s = 0; s < splits; ++s) {
    peak = fmaxf(peak, parts[s * n + r].x);
  }
  float total = 0;
  for (int s = 0; s < splits; ++s) {
    total += parts[s * n + r].y * exp2f(parts[s * n + r].x - peak);
  }
  lse[r] = (peak + log2f(total)) / kLog2e;
}

Logits logits_of(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a) {
  Logits p{};
  p.n = a.hidden.dim(0);
  p.vocab = static_cast<int>(a.head.dim(0));
  p.row_blocks = static_cast<int>(div_up(p.n, kRows));
  const auto tiles = static_cast<int>(div_up(p.vocab, kVocab));
  // Few rows: parts of the vocabulary keep every multiprocessor busy. Depends on the shape and the
  // device alone.
  const int wanted = std::max(1, ctx.cuda->device.multiprocessors / p.row_blocks);
  p.tiles_per_split = static_cast<int>(div_up(tiles, std::min(wanted, tiles)));
  p.splits = static_cast<int>(div_up(tiles, p.tiles_per_split));
  p.targets = a.targets.data<int32_t>();
  return p;
}

template <class Take>
bool queue(const ExecutionContext& ctx, const char* name, const LinearCrossEntropyArgs& a,
           const Logits& p) {
  CUtensorMap hidden, head;
  if (!make_tile_map(a.hidden, kRows, &hidden) || !make_tile_map(a.head, kVocab, &head)) {
    return false;
  }
  const int items = p.row_blocks * p.splits;
  launch(ctx, name,
         {dim3(static_cast<unsigned>(std::min(items, ctx.cuda->device.multiprocessors))),
          dim3(kThreads), kShared},
         logits_rows<Take>, p, hidden, head);
  return true;
}

}  // namespace

bool logits_fit(const ExecutionContext& ctx, const Tensor& hidden, const Tensor& head) {
  return ctx.cuda->choice.logits_in_registers && ctx.compute == Compute::bf16 &&
         ctx.cuda->device.major == 9 && hidden.dtype() == Dtype::bf16 &&
         head.dtype() == Dtype::bf16 && hidden.dim(1) == kSteps * kTileColumns &&
         head.dim(0) >= kVocab && head.dim(0) < (1 << 30) && hidden.dim(0) < (1 << 30);
}

bool logits_forward(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a, float* lse,
                    float* target_logit) {
  backend::ArenaScope scope(*ctx.arena);
  Logits p = logits_of(ctx, a);
  const Tensor parts = ctx.make(Dtype::f32, {p.splits, p.n, 2});
  p.parts = reinterpret_cast<float2*>(parts.raw());
  p.target_logit = target_logit;
  if (!queue<ForwardRows>(ctx, "logits_forward", a, p)) {
    return false;
  }
  launch(ctx, "join_parts", threads_for(p.n), join_parts, p.parts, p.splits, p.n, lse);
  return true;
}

bool logits_backward(const ExecutionContext& ctx, const LinearCrossEntropyArgs& a,
                     const float* d_losses, const Tensor& gradients) {
  Logits p = logits_of(ctx, a);
  p.lse = a.lse.data<float>();
  p.d_losses = d_losses;
  p.gradients = gradients.data<bf16>();
  p.gradient_stride = gradients.stride(0);
  return queue<BackwardRows>(ctx, "logits_backward", a, p);
}

}  // namespace offbook::ops::cuda
