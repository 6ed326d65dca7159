// What a run of the program computes on, opened once: the CPU's threads, or a GPU beside them.
#pragma once
#include <memory>
#include <string>

#include "src/backend/context.h"
#include "src/backend/op_profile.h"

namespace offbook::backend {

class Gpu;  // src/backend/gpu.h

struct DeviceOptions {
  // auto (a GPU if there is one that this build can use, else the CPU), cpu, reference, cuda (the
  // first GPU) or cuda:N.
  std::string name = "auto";
  int threads = 0;              // of the CPU; 0: as many as the machine has
  size_t gpu_memory_bytes = 0;  // most that is taken on the GPU; 0: what the card has free
};

// Owns the threads, the GPU's stream and memory, and an arena. Contexts and whatever was made in
// them must go before it. Not thread-safe: one pass at a time.
class ComputeDevice {
 public:
  // InvalidArgument for another name; Unsupported, saying what is missing and what would help, for
  // a GPU by name that cannot be used (no driver, an old one, no such GPU, its generation, a build
  // without CUDA).
  explicit ComputeDevice(const DeviceOptions& options = {});
  ~ComputeDevice();
  ComputeDevice(const ComputeDevice&) = delete;
  ComputeDevice& operator=(const ComputeDevice&) = delete;

  Backend backend() const noexcept { return backend_; }
  bool is_gpu() const noexcept { return gpu_ != nullptr; }
  ThreadPool& pool() noexcept { return pool_; }

  // For passes on this device, in its own arena.
  ExecutionContext context(Compute compute) noexcept;
  // For what stays on the CPU beside a GPU; the same as context() without one.
  ExecutionContext cpu_context(Compute compute);

  // From now on contexts time their operations; to be called before they are made.
  OpProfile& start_profile();

  // Most GPU memory that tensors took at one time; 0 without a GPU.
  size_t peak_gpu_bytes() const;

  // "NVIDIA H200, 138.9 of 139.8 GiB free", "cpu_avx512, 2 threads".
  std::string description() const;
  // Why `auto` took the CPU, where this build has a CUDA backend; else empty.
  const std::string& note() const noexcept { return note_; }

 private:
  void open(const DeviceOptions& options);

  ThreadPool pool_;
  std::unique_ptr<Gpu> gpu_;
  Backend backend_ = Backend::reference;
  std::string note_;
  std::unique_ptr<OpProfile> profile_;
  std::unique_ptr<Arena> arena_;
  Arena cpu_arena_;
};

// An arena for passes like those of `ctx`: blocks of its allocator, in sizes that suit its device.
Arena arena_like(const ExecutionContext& ctx);

}  // namespace offbook::backend
