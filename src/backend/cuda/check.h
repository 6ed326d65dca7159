// Every CUDA call goes through here: a code that is not success becomes an offbook::Error.
#pragma once
#include <string>

#include <cuda_runtime_api.h>

#include "src/base/error.h"

namespace offbook::backend {

// Throws for a failed call: OutOfMemory for a refused allocation, Unsupported for a missing or too
// old driver or a kernel this GPU has no code for, InvalidArgument for a launch the device cannot
// do, and DeviceLost for everything that leaves the device's context unusable.
[[noreturn]] void throw_cuda(cudaError_t code, const std::string& what);

inline void cuda_check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) {
    throw_cuda(code, what);
  }
}

}  // namespace offbook::backend
