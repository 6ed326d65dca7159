// What blocks of one cooperative launch share: words that they hand to one another, copies that run
// ahead, and products of rows in shared memory.
#pragma once
#include "src/ops/cuda/mma.cuh"

namespace offbook::ops::cuda {

// 16 bytes to shared memory without waiting for them; past the L1.
__device__ inline void copy_ahead(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from));
#endif
}
// Ends a group of copies.
__device__ inline void copies_asked_for() {
  asm volatile("cp.async.commit_group;");
}
// Waits for all groups but the newest kNewest.
template <int kNewest>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

// Numbers that blocks of one launch hand to one another without a barrier: each word carries the
// turn it was written in, and who needs it looks until the turn has come. One write and one read of
// the L2 take the place of a release, a count, its polling and the read behind it.
//
// A place is written again two turns later at the earliest. Whoever writes then has read words that
// every other block wrote after it had read this one, since each turn passes through all blocks.
__device__ inline void put_word(uint64_t* to, float x, uint32_t turn) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to),
               "l"(uint64_t{turn} << 32 | __float_as_uint(x))
               : "memory");
}
__device__ inline uint64_t look_at(const uint64_t* word) {
  uint64_t seen;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(seen) : "l"(word) : "memory");
  return seen;
}
// kCount words `apart` from one another; all are asked for before the first is looked at.
template <int kCount>
__device__ void take_words(const uint64_t* from, int apart, uint32_t turn, float (&x)[kCount]) {
  bool all;
  do {
    uint64_t seen[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      seen[i] = look_at(from + i * apart);
    }
    all = true;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      all = all && static_cast<uint32_t>(seen[i] >> 32) == turn;
      x[i] = __uint_as_float(static_cast<uint32_t>(seen[i]));
    }
  } while (!all);
}

// The same with three numbers a turn, in 16 bytes that are written and read at once.
struct alignas(16) Triple {
  uint64_t low;   // two numbers
  uint64_t high;  // the third, and the turn
};
__device__ inline void put_triple(Triple* to, float x, float y, float z, uint32_t turn) {
#if __CUDA_ARCH__ >= 700
  asm volatile(
      "{\n"
      ".reg .b128 all;\n"
      "mov.b128 all, {%1, %2};\n"
      "st.relaxed.gpu.global.b128 [%0], all;\n"
      "}\n" ::"l"(to),
      "l"(uint64_t{__float_as_uint(y)} << 32 | __float_as_uint(x)),
      "l"(uint64_t{turn} << 32 | __float_as_uint(z))
      : "memory");
#endif
}
template <int kCount>
__device__ void take_triples(const Triple* from, int apart, int count, uint32_t turn,
                             float (&x)[kCount][3]) {
  bool all;
  do {
    Triple seen[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      seen[i] = {0, uint64_t{turn} << 32};
      if (i < count) {
#if __CUDA_ARCH__ >= 700
        asm volatile(
            "{\n"
            ".reg .b128 all;\n"
            "ld.relaxed.gpu.global.b128 all, [%2];\n"
            "mov.b128 {%0, %1}, all;\n"
            "}\n"
            : "=l"(seen[i].low), "=l"(seen[i].high)
            : "l"(from + i * apart)
            : "memory");
#endif
      }
    }
    all = true;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      all = all && static_cast<uint32_t>(seen[i].high >> 32) == turn;
      x[i][0] = __uint_as_float(static_cast<uint32_t>(seen[i].low));
      x[i][1] = __uint_as_float(static_cast<uint32_t>(seen[i].low >> 32));
      x[i][2] = __uint_as_float(static_cast<uint32_t>(seen[i].high));
    }
  } while (!all);
}

// sum + Σ of eight pairs of bf16 products.
__device__ inline float dot8(const uint4& a, const uint4& b, float sum) {
  const uint32_t x[4] = {a.x, a.y, a.z, a.w};
  const uint32_t y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = fmaf(__uint_as_float(x[i] << 16), __uint_as_float(y[i] << 16), sum);
    sum = fmaf(__uint_as_float(x[i] & 0xffff0000u), __uint_as_float(y[i] & 0xffff0000u), sum);
  }
  return sum;
}

// Rows of kUnits pieces of 16 bytes, in shared memory as the vector is, with kParts groups of eight
// threads each. `parts` gets the groups' sums, to be added by row_sum after it. By whole blocks.
template <int kRows, int kParts, int kUnits>
__device__ void multiply_rows(const uint8_t* rows, const uint8_t* vector, float* parts) {
  const auto* weights = reinterpret_cast<const uint4*>(rows);
  const auto* x = reinterpret_cast<const uint4*>(vector);
  const int row = static_cast<int>(threadIdx.x) / 8 / kParts;
  const int part = static_cast<int>(threadIdx.x) / 8 % kParts;
  const int lane = static_cast<int>(threadIdx.x) % 8;
  float sum = 0;
  if (row < kRows) {
#pragma unroll
    for (int u = part * 8 + lane; u < kUnits; u += kParts * 8) {
      sum = dot8(weights[row * kUnits + u], x[u], sum);
    }
  }
#pragma unroll
  for (int step = 1; step < 8; step *= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  if (row < kRows && lane == 0) {
    parts[row * kParts + part] = sum;
  }
  __syncthreads();
}

template <int kParts>
__device__ float row_sum(const float* parts, int row) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    sum += parts[row * kParts + i];
  }
  return sum;
}

}  // namespace offbook::ops::cuda
