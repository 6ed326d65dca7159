// What operations need of the GPU they run on: its stream, its matrix-product library and its
// faults.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <cuda_runtime_api.h>

#include "src/backend/cuda/device.h"
#include "src/backend/cuda/handles.h"

namespace offbook::backend {

class GemmLibrary;  // cuda/gemm.h
class SdpaLibrary;  // cuda/sdpa.h

// Which kernels run where there is a choice; benches compare, everybody else leaves it.
struct KernelChoice {
  // Attention over many queries: cuDNN where it takes the shape, our own kernels for the rest.
  bool cudnn = true;
  // A lone sequence goes to cuDNN without tables of lengths and offsets.
  bool dense = true;
  // Backward passes give the same bits each time; cuDNN's then needs memory and time that grow with
  // the square of the length.
  bool repeatable = true;
  // Cross-entropy of narrow models: logits stay in registers, in a kernel of our own.
  bool logits_in_registers = true;
  // A token of a small model: all layers in one kernel, where there is one for the shape.
  bool layers_at_once = true;
};

// One pass at a time; not thread-safe. Owns its stream, workspace and library handles. Device
// tensors may outlive it; work queued on its stream may not.
struct CudaState {
  // Opens GPU `index`. Throws as open_cuda_device does.
  explicit CudaState(int index = 0);
  ~CudaState();
  CudaState(const CudaState&) = delete;
  CudaState& operator=(const CudaState&) = delete;

  // To be called after every kernel launch with the kernel's name (a literal): throws when the
  // launch was refused, and remembers the name for wait().
  void launched(const char* kernel) {
    recent[launches++ % recent.size()] = kernel;
    const cudaError_t code = cudaPeekAtLastError();
    if (code != cudaSuccess) {
      fault(code);
    }
  }

  // Blocks until the stream is empty. A fault of earlier work is DeviceLost naming the last
  // launches.
  void wait();

  // Bytes to the device in stream order; the host side may be reused on return.
  void copy_in(std::byte* device_to, const std::byte* host_from, size_t bytes);
  // The other way; the host side is filled after wait().
  void copy_out(std::byte* host_to, const std::byte* device_from, size_t bytes);

  // Set by whoever runs inference: no kernel in flight writes a weight, so products may read theirs
  // before the kernel in front of them is done; and the only one that writes a cache is the
  // kv_write of the rows that a pass appends, so attention may read the pages before them (and its
  // tables) early.
  bool weights_are_settled = false;
  KernelChoice choice;

  // Zeros on the device, for kernels that count arrivals of their blocks; each leaves zeros behind.
  static constexpr int kCounters = 16384;
  uint32_t* counters = nullptr;
  // Behind the counters: zeros at first, for kernels whose blocks hand numbers to one another.
  static constexpr size_t kWordBytes = size_t{512} << 10;
  void* words = nullptr;

  CudaDevice device;
  CudaStream stream;
  std::unique_ptr<GemmLibrary> gemm;
  // Opened on first use: half a second and hundreds of MB of mapped code that decoding does not
  // need.
  SdpaLibrary& sdpa();
  std::array<const char*, 4> recent{};  // names of the last launches
  size_t launches = 0;
  StagingRing staging{size_t{16} << 20};

 private:
  [[noreturn]] void fault(cudaError_t code);

  std::unique_ptr<SdpaLibrary> sdpa_;
};

}  // namespace offbook::backend
