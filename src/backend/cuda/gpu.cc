#include "src/backend/gpu.h"

#include "src/backend/cuda/allocator.h"
#include "src/backend/cuda/profile.h"
#include "src/backend/cuda/state.h"

namespace offbook::backend {
namespace {

class CudaGpu final : public Gpu {
 public:
  CudaGpu(int index, size_t limit_bytes) : state_(index), allocator_(limit_bytes) {}

  BlockAllocator& allocator() override { return allocator_; }
  CudaState& state() override { return state_; }
  size_t peak_bytes() const override { return allocator_.peak_bytes(); }
  std::unique_ptr<OpProfile> make_profile() override {
    return std::make_unique<CudaProfile>(state_);
  }
  std::string description() const override {
    const auto gib = [](size_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
    const CudaDevice& d = state_.device;
    return fmt::format("{}, {:.1f} of {:.1f} GiB free", d.name, gib(d.free_bytes),
                       gib(d.total_bytes));
  }

 private:
  CudaState state_;  // opens the device: before the allocator
  CudaAllocator allocator_;
};

}  // namespace

bool has_cuda() {
  return true;
}

std::unique_ptr<Gpu> open_gpu(int index, size_t limit_bytes) {
  return std::make_unique<CudaGpu>(index, limit_bytes);
}

}  // namespace offbook::backend
