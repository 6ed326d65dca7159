#include "src/backend/cuda/allocator.h"

#include <algorithm>
#include <bit>

#include "src/backend/cuda/check.h"

namespace offbook::backend {
namespace {

constexpr size_t kSmallStep = 512;              // sizes are rounded so that blocks fit again
constexpr size_t kLargeStep = size_t{2} << 20;  // cudaMalloc's own granularity
constexpr size_t kSteps = 16;                   // sizes an octave: at most 1/16 is wasted

// Few different sizes, so that passes of varying lengths find blocks of earlier ones.
size_t rounded(size_t bytes) {
  const size_t step =
      bytes < kLargeStep ? kSmallStep : std::max(kLargeStep, std::bit_floor(bytes) / kSteps);
  return std::max(step, (bytes + step - 1) / step * step);
}

size_t in_mib(size_t bytes) {
  return (bytes + (size_t{1} << 20) - 1) >> 20;
}

// What is taken on the card beside our blocks and what a CUDA context takes.
std::string others_hold(size_t taken, size_t ours) {
  constexpr size_t kContext = size_t{768} << 20;
  return taken > ours + kContext ? fmt::format("about {} MiB", in_mib(taken - ours - kContext))
                                 : std::string("nothing much");
}

}  // namespace

struct CudaAllocator::Pool {
  explicit Pool(size_t limit) : limit_bytes(limit) {}
  ~Pool() { release_kept(); }

  void release_kept() noexcept {
    for (const auto& [size, memory] : kept) {
      cudaFree(memory);
    }
    kept.clear();
    kept_bytes = 0;
  }

  // A kept block of at least `size` that wastes at most an eighth, or null.
  void* reuse(size_t& size) {
    const auto found = kept.lower_bound(size);
    if (found == kept.end() || found->first > size + size / 8) {
      return nullptr;
    }
    void* memory = found->second;
    size = found->first;
    kept_bytes -= size;
    kept.erase(found);
    return memory;
  }

  bool within_limit(size_t size) const {
    return limit_bytes == 0 || used_bytes + kept_bytes + size <= limit_bytes;
  }

  void* fresh(size_t size, size_t asked) {
    if (!within_limit(size)) {
      release_kept();
    }
    void* memory = nullptr;
    if (within_limit(size)) {
      cudaError_t code = cudaMalloc(&memory, size);
      if (code == cudaErrorMemoryAllocation && !kept.empty()) {
        cudaGetLastError();
        release_kept();
        code = cudaMalloc(&memory, size);
      }
      if (code == cudaSuccess) {
        return memory;
      }
      if (code != cudaErrorMemoryAllocation) {
        throw_cuda(code, fmt::format("device memory of {} bytes", asked));
      }
      cudaGetLastError();
    }
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking the GPU for its free memory");
    OB_THROW(
        OutOfMemory,
        "no GPU memory for {} MiB: {} MiB are in use here, the limit (--gpu-memory) is {}, the "
        "card has {} of {} MiB free and other processes hold {}; a smaller model, window or "
        "batch helps, or --device cpu",
        in_mib(asked), in_mib(used_bytes),
        limit_bytes == 0 ? std::string("the card") : fmt::format("{} MiB", in_mib(limit_bytes)),
        in_mib(free_bytes), in_mib(total_bytes),
        others_hold(total_bytes - free_bytes, used_bytes + kept_bytes));
  }

  std::mutex mutex;
  size_t limit_bytes;
  size_t used_bytes = 0;
  size_t kept_bytes = 0;
  size_t peak = 0;
  std::multimap<size_t, void*> kept;
};

CudaAllocator::CudaAllocator(size_t limit_bytes) : pool_(std::make_shared<Pool>(limit_bytes)) {}
CudaAllocator::~CudaAllocator() = default;

std::shared_ptr<Storage> CudaAllocator::allocate(size_t bytes) {
  size_t size = rounded(bytes);
  const std::lock_guard lock(pool_->mutex);
  void* memory = pool_->reuse(size);
  if (memory == nullptr) {
    memory = pool_->fresh(size, bytes);
  }
  pool_->used_bytes += size;
  pool_->peak = std::max(pool_->peak, pool_->used_bytes);
  std::shared_ptr<const void> owner(memory, [pool = pool_, size](const void* p) {
    const std::lock_guard give_back(pool->mutex);
    pool->kept.emplace(size, const_cast<void*>(p));
    pool->used_bytes -= size;
    pool->kept_bytes += size;
  });
  return Storage::borrow(static_cast<std::byte*>(memory), size, std::move(owner), Device::cuda);
}

size_t CudaAllocator::free_bytes() const {
  size_t free = 0;
  size_t total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), "asking the GPU for its free memory");
  const std::lock_guard lock(pool_->mutex);
  const size_t card = free + pool_->kept_bytes;
  return pool_->limit_bytes == 0
             ? card
             : std::min(card, pool_->limit_bytes - std::min(pool_->limit_bytes, pool_->used_bytes));
}

size_t CudaAllocator::bytes_in_use() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->used_bytes;
}

size_t CudaAllocator::bytes_kept() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->kept_bytes;
}

size_t CudaAllocator::peak_bytes() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->peak;
}

void CudaAllocator::trim() {
  const std::lock_guard lock(pool_->mutex);
  pool_->release_kept();
}

}  // namespace offbook::backend
