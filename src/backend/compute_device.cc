#include "src/backend/compute_device.h"

#include <charconv>

#include "src/backend/gpu.h"
#include "src/base/error.h"

namespace offbook::backend {
namespace {

constexpr size_t kGpuBlock = size_t{64} << 20;
constexpr size_t kMostGpuBlock = size_t{1} << 30;
// Blocks that grow with the arena: what does not fit a block is passed over, so that blocks of one
// tensor each are all left behind by the next pass of more rows (training on two cores held 3.3 GB
// so). What is not touched of a block takes no memory.
constexpr size_t kHostBlock = size_t{8} << 20;
constexpr size_t kMostHostBlock = size_t{256} << 20;

// N of "cuda:N"; 0 for "cuda"; −1 for anything else.
int gpu_index(const std::string& name) {
  if (name == "cuda") {
    return 0;
  }
  if (!name.starts_with("cuda:")) {
    return -1;
  }
  int index = -1;
  const char* const end = name.data() + name.size();
  const auto [at, error] = std::from_chars(name.data() + 5, end, index);
  return error == std::errc() && at == end && index >= 0 ? index : -1;
}

}  // namespace

ComputeDevice::ComputeDevice(const DeviceOptions& options)
    : pool_(options.threads > 0 ? options.threads : default_thread_count()) {
  open(options);
  arena_ = gpu_ == nullptr ? std::make_unique<Arena>(host_allocator(), kHostBlock, kMostHostBlock)
                           : std::make_unique<Arena>(gpu_->allocator(), kGpuBlock, kMostGpuBlock);
}

ComputeDevice::~ComputeDevice() = default;

void ComputeDevice::open(const DeviceOptions& options) {
  const std::string& name = options.name;
  const int index = gpu_index(name);
  OB_REQUIRE(index >= 0 || name == "auto" || name == "cpu" || name == "avx2" || name == "reference",
             InvalidArgument, "--device is auto, cpu, avx2, reference, cuda or cuda:N, not \"{}\"",
             name);
  if (index >= 0) {
    gpu_ = open_gpu(index, options.gpu_memory_bytes);
  } else if (name == "auto" && has_cuda()) {
    try {
      gpu_ = open_gpu(0, options.gpu_memory_bytes);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::Unsupported && e.code() != ErrorCode::OutOfMemory) {
        throw;
      }
      note_ = fmt::format("runs on the CPU: {}", e.what());
    }
  }
  if (gpu_ != nullptr) {
    backend_ = Backend::cuda;
  } else if (name != "reference") {
    backend_ = best_cpu_backend();
    backend_ = name == "avx2" ? Backend::cpu_avx2 : backend_;  // what CPUs without AVX-512 run
  }
}

ExecutionContext ComputeDevice::context(Compute compute) noexcept {
  return {.backend = backend_,
          .compute = compute,
          .pool = &pool_,
          .arena = arena_.get(),
          .cuda = gpu_ == nullptr ? nullptr : &gpu_->state(),
          .profile = profile_.get()};
}

OpProfile& ComputeDevice::start_profile() {
  profile_ = gpu_ == nullptr ? host_profile() : gpu_->make_profile();
  return *profile_;
}

ExecutionContext ComputeDevice::cpu_context(Compute compute) {
  if (gpu_ == nullptr) {
    return context(compute);
  }
  return {.backend = best_cpu_backend(), .compute = compute, .pool = &pool_, .arena = &cpu_arena_};
}

size_t ComputeDevice::peak_gpu_bytes() const {
  return gpu_ == nullptr ? 0 : gpu_->peak_bytes();
}

std::string ComputeDevice::description() const {
  return gpu_ != nullptr ? gpu_->description()
                         : fmt::format("{}, {} threads", to_string(backend_), pool_.threads());
}

Arena arena_like(const ExecutionContext& ctx) {
  return ctx.device() == Device::cuda ? Arena(ctx.arena->allocator(), kGpuBlock, kMostGpuBlock)
                                      : Arena(ctx.arena->allocator(), kHostBlock, kMostHostBlock);
}

}  // namespace offbook::backend
