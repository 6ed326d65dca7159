#include "src/backend/cuda/check.h"

namespace offbook::backend {

void throw_cuda(cudaError_t code, const std::string& what) {
  const char* reason = cudaGetErrorString(code);
  cudaGetLastError();  // a refused launch or allocation leaves its code behind for the next check
  switch (code) {
    case cudaErrorMemoryAllocation:
      OB_THROW(OutOfMemory, "{}: {}", what, reason);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorStubLibrary:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorSystemNotReady:
    case cudaErrorInitializationError:
      OB_THROW(Unsupported, "{}: {}; use --device cpu", what, reason);
    case cudaErrorDevicesUnavailable:
      OB_THROW(Unsupported, "{}: {}: another process may hold it alone; use --device cpu", what,
               reason);
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidValue:
    case cudaErrorLaunchOutOfResources:
      OB_THROW(InvalidArgument, "{}: {}", what, reason);
    default:
      OB_THROW(DeviceLost, "{}: {} ({})", what, reason, cudaGetErrorName(code));
  }
}

}  // namespace offbook::backend
