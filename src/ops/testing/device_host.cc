#include "src/ops/testing/device.h"

namespace offbook::ops::testing {

bool cuda_available() { return false; }

DeviceScope::DeviceScope(backend::Backend) {}
DeviceScope::~DeviceScope() = default;
backend::BlockAllocator& DeviceScope::allocator() { return backend::host_allocator(); }
backend::CudaState* DeviceScope::cuda() { return nullptr; }

Tensor to_device(backend::ExecutionContext&, const Tensor& host) { return host; }
Tensor to_host(backend::ExecutionContext&, const Tensor& device) { return device; }

}  // namespace offbook::ops::testing
