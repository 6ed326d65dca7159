#include "src/backend/cuda/allocator.h"
#include "src/backend/cuda/state.h"
#include "src/backend/transfer.h"
#include "src/ops/testing/device.h"

namespace offbook::ops::testing {
namespace {

// One for the whole test program: opening the library for each of a thousand runs would take
// minutes.
struct Gpu {
  backend::CudaAllocator allocator;
  backend::CudaState state;
};

Gpu& gpu() {
  static Gpu shared;
  return shared;
}

}  // namespace

bool cuda_available() {
  static const bool available = backend::find_cuda_device(0, nullptr).has_value();
  return available;
}

DeviceScope::DeviceScope(backend::Backend backend) {
  if (backend == backend::Backend::cuda) {
    state_ = std::shared_ptr<void>(&gpu(), [](void*) {});
  }
}
DeviceScope::~DeviceScope() = default;

backend::BlockAllocator& DeviceScope::allocator() {
  return state_ != nullptr ? static_cast<backend::BlockAllocator&>(gpu().allocator)
                           : backend::host_allocator();
}
backend::CudaState* DeviceScope::cuda() {
  return state_ != nullptr ? &gpu().state : nullptr;
}

Tensor to_device(backend::ExecutionContext& ctx, const Tensor& host) {
  return backend::to_device(ctx, host);
}

Tensor to_host(backend::ExecutionContext& ctx, const Tensor& device) {
  if (device.device() == Device::cpu) {
    return device;
  }
  Tensor out = Tensor::empty(device.dtype(), device.shape());
  backend::download(ctx, device, {out.raw(), static_cast<size_t>(out.bytes())});
  return out;
}

}  // namespace offbook::ops::testing
