// The CUDA half of compute_device.h: cuda/gpu.cc with OB_CUDA, no_cuda.cc without.
#pragma once
#include <memory>
#include <string>

#include "src/backend/context.h"
#include "src/backend/op_profile.h"

namespace offbook::backend {

// An opened GPU: its memory and its state.
class Gpu {
 public:
  virtual ~Gpu() = default;
  virtual BlockAllocator& allocator() = 0;
  virtual CudaState& state() = 0;
  virtual size_t peak_bytes() const = 0;
  virtual std::unique_ptr<OpProfile> make_profile() = 0;
  virtual std::string description() const = 0;
};

// Whether this build has a CUDA backend at all.
bool has_cuda();

// Throws Unsupported as ComputeDevice says.
std::unique_ptr<Gpu> open_gpu(int index, size_t limit_bytes);

}  // namespace offbook::backend
