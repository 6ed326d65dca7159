#include "src/backend/cuda_transfer.h"
#include "src/backend/gpu.h"
#include "src/backend/recorded_pass.h"
#include "src/base/error.h"

namespace offbook::backend {

void cuda_upload(const ExecutionContext&, std::span<const std::byte>, const Tensor&) {
  OB_THROW(Unsupported, "this build of offbook has no CUDA backend");
}

void cuda_download(const ExecutionContext&, const Tensor&, std::span<std::byte>) {
  OB_THROW(Unsupported, "this build of offbook has no CUDA backend");
}

std::unique_ptr<RecordedPass> record_pass(const ExecutionContext&, const std::function<void()>&) {
  return nullptr;
}

bool has_cuda() {
  return false;
}

std::unique_ptr<Gpu> open_gpu(int, size_t) {
  OB_THROW(Unsupported, "--device cuda: this offbook was built without CUDA; use --device cpu");
}

}  // namespace offbook::backend
