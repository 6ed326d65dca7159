// Streams, events and page-locked host memory, each owned by one object.
#pragma once
#include <array>
#include <cstddef>

#include <cuda_runtime_api.h>

namespace offbook::backend {

// A queue of device work, without implicit order to the default stream.
class CudaStream {
 public:
  CudaStream();
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const noexcept { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// A point in a stream, with its time.
class CudaEvent {
 public:
  CudaEvent();
  ~CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(cudaStream_t stream);
  // Blocks the host until the point is reached.
  void wait() const;
  // Makes later work of `stream` wait for the point, without blocking the host.
  void wait_on(cudaStream_t stream) const;
  // Milliseconds from `begin` to this; both reached.
  float ms_since(const CudaEvent& begin) const;

 private:
  cudaEvent_t event_ = nullptr;
};

// Page-locked host memory: copies from and to it run beside kernels. Throws OutOfMemory with the
// size.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Uploads through page-locked memory: the host does not wait for the device, only for room.
class StagingRing {
 public:
  explicit StagingRing(size_t bytes) : half_bytes_(bytes / 2), buffer_(bytes / 2 * 2) {}

  // Copies to the device in stream order; `from` may be reused on return. Always the same stream.
  void copy_in(std::byte* to, const std::byte* from, size_t bytes, cudaStream_t stream);

 private:
  void enter_other_half(cudaStream_t stream);

  size_t half_bytes_;
  PinnedBuffer buffer_;
  std::array<CudaEvent, 2> left_;  // the copies of a half are done
  size_t half_ = 0;
  size_t used_ = 0;  // of the present half
  bool other_was_used_ = false;
};

}  // namespace offbook::backend
