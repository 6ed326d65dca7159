#include "src/backend/cuda/state.h"

#include "src/backend/cuda/check.h"
#include "src/backend/cuda/gemm.h"
#include "src/backend/cuda/sdpa.h"

namespace offbook::backend {

CudaState::CudaState(int index)
    : device(open_cuda_device(index)), gemm(std::make_unique<GemmLibrary>()) {
  void* memory = nullptr;
  constexpr size_t kBytes = kCounters * sizeof(uint32_t) + kWordBytes;
  cuda_check(cudaMalloc(&memory, kBytes), "576 KiB of counters");
  counters = static_cast<uint32_t*>(memory);
  words = counters + kCounters;
  cuda_check(cudaMemset(memory, 0, kBytes), "clearing counters");
}
CudaState::~CudaState() {
  cudaStreamSynchronize(stream.get());
  cudaFree(counters);
}

SdpaLibrary& CudaState::sdpa() {
  if (sdpa_ == nullptr) {
    sdpa_ = std::make_unique<SdpaLibrary>(stream.get());
  }
  return *sdpa_;
}

void CudaState::fault(cudaError_t code) {
  std::string names;
  for (size_t i = launches > recent.size() ? launches - recent.size() : 0; i < launches; ++i) {
    names += (names.empty() ? "" : ", ") + std::string(recent[i % recent.size()]);
  }
  throw_cuda(code,
             fmt::format("{} after launching {}", device.name, names.empty() ? "nothing" : names));
}

void CudaState::wait() {
  const cudaError_t code = cudaStreamSynchronize(stream.get());
  if (code != cudaSuccess) {
    fault(code);
  }
}

void CudaState::copy_in(std::byte* device_to, const std::byte* host_from, size_t bytes) {
  staging.copy_in(device_to, host_from, bytes, stream.get());
}

void CudaState::copy_out(std::byte* host_to, const std::byte* device_from, size_t bytes) {
  const cudaError_t code =
      cudaMemcpyAsync(host_to, device_from, bytes, cudaMemcpyDeviceToHost, stream.get());
  if (code != cudaSuccess) {
    fault(code);
  }
}

}  // namespace offbook::backend
