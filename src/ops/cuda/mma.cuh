// Warp-wide tensor-core instructions of sm_80 and later, and asynchronous copies to shared memory.
//
// mma_bf16 computes c [16, 8] += a [16, 16] b [16, 8] with g = lane / 4 and t = lane % 4:
//   a: (g, 2t…), (g + 8, 2t…), (g, 2t + 8…), (g + 8, 2t + 8…), two neighbours along k in each word
//   b: (2t…, g), (2t + 8…, g)          c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
#pragma once
#include "src/ops/cuda/elements.cuh"

namespace offbook::ops::cuda {

__device__ inline void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8 × 8 matrices; lane l gives the address of row l % 8 of matrix l / 8 (16 bytes).
__device__ inline void ldmatrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ inline void ldmatrix_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// 16 bytes from global to shared memory, zeros when not `valid`.
__device__ inline void copy_async16(uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes));
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;\n");
}
// Waits until at most kPending groups of this thread are under way.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending));
}

// A tile [rows, kDim] of bf16 in shared memory whose 16-byte pieces are permuted within each row,
// so that eight rows of one column of pieces lie in different banks.
template <int kDim>
__device__ inline uint32_t tile_offset(int row, int piece) {
  return static_cast<uint32_t>((row * (kDim / 8) + (piece ^ (row & 7))) * 16);
}

// a-operand of 16 rows × 16 columns starting at (row, 2 pieces) of a tile.
template <int kDim>
__device__ inline void load_a(uint32_t (&a)[4], uint32_t tile, int row, int piece) {
  const int lane = threadIdx.x % 32;
  ldmatrix(a, tile + tile_offset<kDim>(row + lane % 16, piece + lane / 16));
}
// b-operands of 16 columns n whose rows of the tile are n and columns k: b[0], b[1] for n =
// row…row+7, b[2], b[3] for the next eight.
template <int kDim>
__device__ inline void load_b(uint32_t (&b)[4], uint32_t tile, int row, int piece) {
  const int lane = threadIdx.x % 32;
  ldmatrix(b, tile + tile_offset<kDim>(row + lane / 16 * 8 + lane % 8, piece + lane / 8 % 2));
}
// b-operands of 16 columns n whose rows of the tile are k and columns n: k = row…row+15,
// n = 8 · piece … for b[0], b[1], the next eight for b[2], b[3].
template <int kDim>
__device__ inline void load_b_transposed(uint32_t (&b)[4], uint32_t tile, int row, int piece) {
  const int lane = threadIdx.x % 32;
  ldmatrix_transposed(b, tile + tile_offset<kDim>(row + lane % 16, piece + lane / 16));
}

}  // namespace offbook::ops::cuda
