// The bulk copy engine of sm_90: whole runs of bytes to shared memory without a thread's help, and
// the barriers that say when they are there. On older targets these functions are empty: the host picks
// kernels that use them only for devices of compute capability 9 and later.
#pragma once
#include "src/ops/cuda/mma.cuh"

namespace offbook::ops::cuda {

__device__ inline void barrier_init([[maybe_unused]] uint32_t barrier,
                                    [[maybe_unused]] int arrivals) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
#endif
}
// Makes initialised barriers known to the copy engine; a __syncthreads must follow.
__device__ inline void barrier_init_done() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
__device__ inline void barrier_arrive([[maybe_unused]] uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
// Arrives, and says how many bytes of copies the phase waits for besides.
__device__ inline void barrier_expect([[maybe_unused]] uint32_t barrier,
                                      [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
#endif
}
// Waits for the end of the phase with this parity.
__device__ inline void barrier_wait([[maybe_unused]] uint32_t barrier,
                                    [[maybe_unused]] uint32_t parity) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni finished;\n"
      "bra.uni again;\n"
      "finished:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
#endif
}
// `bytes`, both addresses: multiples of 16.
__device__ inline void copy_bulk([[maybe_unused]] uint32_t to, [[maybe_unused]] const void* from,
                                 [[maybe_unused]] uint32_t bytes,
                                 [[maybe_unused]] uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
#endif
}

}  // namespace offbook::ops::cuda
