#include "src/backend/cuda/handles.h"

#include "src/backend/cuda/check.h"

namespace offbook::backend {

CudaStream::CudaStream() {
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}
CudaStream::~CudaStream() {
  cudaStreamDestroy(stream_);
}

CudaEvent::CudaEvent() {
  cuda_check(cudaEventCreate(&event_), "creating an event");
}
CudaEvent::~CudaEvent() {
  cudaEventDestroy(event_);
}
void CudaEvent::record(cudaStream_t stream) {
  cuda_check(cudaEventRecord(event_, stream), "recording an event");
}
void CudaEvent::wait() const {
  cuda_check(cudaEventSynchronize(event_), "waiting for an event");
}
void CudaEvent::wait_on(cudaStream_t stream) const {
  cuda_check(cudaStreamWaitEvent(stream, event_, 0), "making a stream wait for an event");
}
float CudaEvent::ms_since(const CudaEvent& begin) const {
  float ms = 0;
  cuda_check(cudaEventElapsedTime(&ms, begin.event_, event_), "reading the time between events");
  return ms;
}

PinnedBuffer::PinnedBuffer(size_t bytes) : bytes_(bytes) {
  void* memory = nullptr;
  const cudaError_t code = cudaMallocHost(&memory, bytes == 0 ? 1 : bytes);
  if (code != cudaSuccess) {
    throw_cuda(code, fmt::format("page-locked host memory of {} bytes", bytes));
  }
  data_ = static_cast<std::byte*>(memory);
}
PinnedBuffer::~PinnedBuffer() {
  cudaFreeHost(data_);
}

}  // namespace offbook::backend
