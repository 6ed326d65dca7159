// Launching kernels from operations: the stream of the context, checks, and sizes of grids.
#pragma once
#include <algorithm>
#include <cstdint>

#include "src/backend/cuda/check.h"
#include "src/backend/cuda/state.h"
#include "src/ops/op.h"

namespace offbook::ops::cuda {

struct Launch {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  // The kernel calls wait_for_predecessor() before it touches memory that kernels write, so it may
  // start while the one before it in the stream still runs.
  bool overlaps = false;
  // All blocks run at once (a cooperative launch): they may wait for one another.
  bool together = false;
};

// Blocks until the kernel before this one in the stream is done and its writes are seen. Nothing to
// do in a kernel that was not launched with `overlaps`.
__device__ inline void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the next kernel, if launched with `overlaps`, start as soon as all blocks have said so.
__device__ inline void let_successor_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

inline constexpr size_t kSharedWithoutAsking = 48 << 10;

// Queues the kernel; an empty grid is no work. `name` is a literal.
template <typename... P, typename... A>
void launch(const ExecutionContext& ctx, const char* name, const Launch& shape,
            void (*kernel)(P...), A&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) {
    return;
  }
  if (shape.shared_bytes > kSharedWithoutAsking) {
    backend::cuda_check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             static_cast<int>(shape.shared_bytes)),
                        name);
  }
  cudaLaunchAttribute attribute{};
  if (shape.together) {
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
  } else {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = ctx.cuda->stream.get();
  config.attrs = &attribute;
  config.numAttrs = shape.together || (shape.overlaps && ctx.cuda->device.major >= 9) ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
  ctx.cuda->launched(name);
}

inline int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// A grid dimension for `blocks`; throws InvalidArgument above what a launch can have.
inline unsigned blocks_x(int64_t blocks) {
  OB_REQUIRE(blocks >= 0 && blocks < (int64_t{1} << 31), InvalidArgument,
             "{} blocks do not fit a CUDA launch", blocks);
  return static_cast<unsigned>(blocks);
}

// One thread for each of n pieces of work.
inline Launch threads_for(int64_t n, unsigned block = 256) {
  return {dim3(blocks_x(div_up(n, block))), dim3(block)};
}

}  // namespace offbook::ops::cuda
