// Where the harness puts tensors: host memory, or a GPU when the CUDA backend is built
// (device_host.cc or device_cuda.cc).
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "src/backend/context.h"

namespace offbook::ops::testing {

// Whether a CUDA device can be used by this build on this machine.
bool cuda_available();

// What one run needs of its device: an allocator for the arena, and CUDA state.
class DeviceScope {
 public:
  explicit DeviceScope(backend::Backend backend);
  ~DeviceScope();
  backend::BlockAllocator& allocator();
  backend::CudaState* cuda();

 private:
  std::shared_ptr<void> state_;
};

// A u8 tensor copied to the device of ctx (the tensor itself for the CPU) and back (a copy).
Tensor to_device(backend::ExecutionContext& ctx, const Tensor& host);
Tensor to_host(backend::ExecutionContext& ctx, const Tensor& device);

// Random blocks of a quantised type whose scales are small finite numbers.
void fill_random_blocks(Dtype dtype, std::span<std::byte> bytes, const std::function<uint64_t()>& random);

}  // namespace offbook::ops::testing
