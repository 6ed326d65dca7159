#include "src/backend/cuda/handles.h"

#include <algorithm>
#include <cstring>

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

void StagingRing::enter_other_half(cudaStream_t stream) {
  left_[half_].record(stream);
  half_ = 1 - half_;
  used_ = 0;
  if (other_was_used_) {
    left_[half_].wait();
  }
  other_was_used_ = true;
}

void StagingRing::copy_in(std::byte* to, const std::byte* from, size_t bytes, cudaStream_t stream) {
  constexpr size_t kStep = 64;  // distance of pieces
  while (bytes > 0) {
    if (used_ == half_bytes_) {
      enter_other_half(stream);
    }
    const size_t piece = std::min(bytes, half_bytes_ - used_);
    std::byte* const staged = buffer_.data() + half_ * half_bytes_ + used_;
    std::memcpy(staged, from, piece);
    cuda_check(cudaMemcpyAsync(to, staged, piece, cudaMemcpyHostToDevice, stream),
               "copying to the GPU");
    used_ = std::min(half_bytes_, (used_ + piece + kStep - 1) / kStep * kStep);
    to += piece;
    from += piece;
    bytes -= piece;
  }
}

}  // namespace offbook::backend
