#include "src/backend/cuda/device.h"

#include <charconv>
#include <string_view>

#include "src/backend/cuda/check.h"

namespace offbook::backend {
namespace {

constexpr int kOldestMajor = 8;  // bf16 matrix units and asynchronous copies to shared memory

int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, which, index), "asking the GPU for its properties");
  return value;
}

}  // namespace

void require_driver(const CudaDevice& d) {
  OB_REQUIRE(d.driver_version > 0, Unsupported,
             "no NVIDIA driver is loaded on this machine; use --device cpu, or install a driver "
             "for CUDA {}.{}",
             d.runtime_version / 1000, d.runtime_version % 1000 / 10);
  OB_REQUIRE(d.driver_version / 1000 >= d.runtime_version / 1000, Unsupported,
             "the NVIDIA driver knows CUDA up to {}.{}, this build needs {}.0; update the driver "
             "or use --device cpu",
             d.driver_version / 1000, d.driver_version % 1000 / 10, d.runtime_version / 1000);
}

namespace {

// Whether kernels for one entry of CMAKE_CUDA_ARCHITECTURES run on a GPU: "90a" on that generation
// alone, "80-real" on later ones of its major number, "80" on all later ones, compiled when loaded.
bool runs_on(std::string_view entry, const CudaDevice& d) {
  int number = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), number);
  if (error != std::errc()) {
    return false;
  }
  const std::string_view suffix = entry.substr(static_cast<size_t>(end - entry.data()));
  const int gpu = 10 * d.major + d.minor;
  if (suffix.starts_with('a')) {
    return gpu == number;
  }
  return gpu >= number && (suffix != "-real" || number / 10 == d.major);
}

}  // namespace

void require_generation(const CudaDevice& d) {
  OB_REQUIRE(
      d.major >= kOldestMajor, Unsupported,
      "{} has compute capability {}.{}; offbook needs {}.0 or newer (Ampere); use --device cpu",
      d.name, d.major, d.minor, kOldestMajor);
  std::string_view left = d.kernels_for;
  while (!left.empty()) {
    const size_t end = std::min(left.find(','), left.size());
    if (runs_on(left.substr(0, end), d)) {
      return;
    }
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  OB_THROW(Unsupported,
           "{} has compute capability {}.{}, this build has kernels for {}; use --device cpu, or "
           "build with -DCMAKE_CUDA_ARCHITECTURES={}{}",
           d.name, d.major, d.minor, d.kernels_for, d.major, d.minor);
}

CudaDevice open_cuda_device(int index) {
  CudaDevice device{.kernels_for = OB_CUDA_ARCHITECTURES};
  cuda_check(cudaRuntimeGetVersion(&device.runtime_version),
             "asking for the CUDA runtime's version");
  if (cudaDriverGetVersion(&device.driver_version) != cudaSuccess) {
    device.driver_version = 0;
  }
  require_driver(device);
  int count = 0;
  cuda_check(cudaGetDeviceCount(&count), "counting GPUs");
  OB_REQUIRE(
      index >= 0 && index < count, Unsupported,
      "GPU {} was asked for, this machine has {}, counted from 0; use --device cpu or one of them",
      index, count);
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, index), "asking the GPU for its properties");
  device.index = index;
  device.name = properties.name;
  device.major = properties.major;
  device.minor = properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.shared_bytes_per_block =
      static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index));
  device.l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  require_generation(device);
  cuda_check(cudaSetDevice(index), "opening the GPU");
  cuda_check(cudaMemGetInfo(&device.free_bytes, &device.total_bytes),
             "asking the GPU for its free memory");
  return device;
}

std::optional<CudaDevice> find_cuda_device(int index, std::string* why_not) {
  try {
    return open_cuda_device(index);
  } catch (const Error& e) {
    if (why_not != nullptr) {
      *why_not = e.what();
    }
    return std::nullopt;
  }
}

}  // namespace offbook::backend
