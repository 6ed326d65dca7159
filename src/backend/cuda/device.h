// Which GPU there is, and whether offbook can use it.
#pragma once
#include <cstddef>
#include <optional>
#include <string>

namespace offbook::backend {

struct CudaDevice {
  int index = 0;
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  size_t shared_bytes_per_block = 0;  // largest a kernel may ask for
  size_t l2_bytes = 0;
  size_t total_bytes = 0;
  size_t free_bytes = 0;   // when asked: other processes on the card take the rest
  int driver_version = 0;  // newest CUDA the driver knows, 13000 for 13.0; 0: no driver
  int runtime_version = 0;
  // What this build has kernels for, entries of CMAKE_CUDA_ARCHITECTURES: "90a", "80,90a".
  std::string kernels_for;
};

// Throw Unsupported, saying what would help, when there is no driver (version 0) or one older than
// this build; when the GPU is older than any kernel, or this build has none for its generation.
void require_driver(const CudaDevice& device);
void require_generation(const CudaDevice& device);

// The device `index`, made current for the calling thread. Throws Unsupported, saying what is
// missing and what would help, without a driver, with a driver older than this build, without that
// device, or on a GPU for which this build has no kernels.
CudaDevice open_cuda_device(int index);

// The same as a question: nothing where open_cuda_device would throw; `why_not`, if given, is its
// message.
std::optional<CudaDevice> find_cuda_device(int index, std::string* why_not);

}  // namespace offbook::backend
