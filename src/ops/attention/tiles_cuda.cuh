// What the flash kernels share: tiles of keys and values in shared memory, and products with
// scores.
#pragma once
#include "src/ops/cuda/mma.cuh"

namespace offbook::ops::cuda {

inline constexpr int kKeyTile = 64;
inline constexpr float kLog2e = 1.4426950408889634f;

__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Queues the copy of kRows rows of kDim values, `stride` elements apart, into a tile; rows from
// `valid` on become zeros.
template <int kDim, int kRows, int kThreads>
__device__ inline void load_tile(uint32_t tile, const bf16* from, int64_t stride, int valid) {
  constexpr int kPieces = kDim / 8;
#pragma unroll
  for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x;
    const int row = index / kPieces;
    const int piece = index % kPieces;
    const bool inside = row < valid;
    copy_async16(tile + tile_offset<kDim>(row, piece),
                 from + (inside ? row * stride : 0) + piece * 8, inside);
  }
}

// sums [16, kDim] += scores [16, kColumns] · tile [kColumns rows from first_row, kDim], with scores
// as mma_bf16 leaves them, rounded to bf16.
template <int kDim, int kColumns>
__device__ inline void multiply_scores(float (&sums)[kDim / 8][4],
                                       const float (&scores)[kColumns / 8][4], uint32_t tile,
                                       int first_row) {
#pragma unroll
  for (int kk = 0; kk < kColumns / 16; ++kk) {
    const uint32_t a0 = pack(scores[2 * kk][0], scores[2 * kk][1]);
    const uint32_t a1 = pack(scores[2 * kk][2], scores[2 * kk][3]);
    const uint32_t a2 = pack(scores[2 * kk + 1][0], scores[2 * kk + 1][1]);
    const uint32_t a3 = pack(scores[2 * kk + 1][2], scores[2 * kk + 1][3]);
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];
      load_b_transposed<kDim>(b, tile, first_row + kk * 16, d * 2);
      mma_bf16(sums[2 * d], a0, a1, a2, a3, b[0], b[1]);
      mma_bf16(sums[2 * d + 1], a0, a1, a2, a3, b[2], b[3]);
    }
  }
}

// scores [16, kColumns] = rows row…row+15 of tile a · (rows first_row… of tile b)ᵀ, over kDim.
template <int kDim, int kColumns>
__device__ inline void multiply_rows(float (&scores)[kColumns / 8][4], uint32_t a_tile, int row,
                                     uint32_t b_tile, int first_row) {
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      scores[n][e] = 0;
    }
  }
#pragma unroll
  for (int kk = 0; kk < kDim / 16; ++kk) {
    uint32_t a[4];
    load_a<kDim>(a, a_tile, row, kk * 2);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[4];
      load_b<kDim>(b, b_tile, first_row + n * 16, kk * 2);
      mma_bf16(scores[2 * n], a[0], a[1], a[2], a[3], b[0], b[1]);
      mma_bf16(scores[2 * n + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
    }
  }
}

}  // namespace offbook::ops::cuda
