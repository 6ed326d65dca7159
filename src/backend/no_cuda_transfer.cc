#include "src/backend/cuda_transfer.h"
#include "src/base/error.h"

namespace offbook::backend {

void cuda_upload(const ExecutionContext&, std::span<const std::byte>, const Tensor&) {
  OB_THROW(Unsupported, "this build of offbook has no CUDA backend");
}

void cuda_download(const ExecutionContext&, const Tensor&, std::span<std::byte>) {
  OB_THROW(Unsupported, "this build of offbook has no CUDA backend");
}

}  // namespace offbook::backend
