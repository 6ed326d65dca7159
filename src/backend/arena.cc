#include "src/backend/arena.h"

#include <algorithm>

#include "src/base/error.h"

namespace offbook::backend {
namespace {

constexpr size_t kAlignment = 256;  // distance of tensors in a block: a transaction for GPUs

class HostAllocator final : public BlockAllocator {
 public:
  std::shared_ptr<Storage> allocate(size_t bytes) override { return Storage::allocate(bytes); }
};

}  // namespace

BlockAllocator& host_allocator() {
  static HostAllocator allocator;
  return allocator;
}

Arena::Arena(BlockAllocator& allocator, size_t block_bytes) : allocator_(allocator), block_bytes_(block_bytes) {}

Tensor Arena::make(Dtype dtype, const Shape& shape) {
  const int64_t last = shape.rank() == 0 ? 1 : shape[-1];
  const auto exact = static_cast<size_t>(shape.numel() == 0 ? 0 : dtype_bytes(dtype, last) * (shape.numel() / last));
  const size_t bytes = (exact + kAlignment - 1) / kAlignment * kAlignment;
  while (true) {
    if (current_ == blocks_.size()) {
      blocks_.push_back({allocator_.allocate(std::max(bytes, block_bytes_)), 0});
    }
    Block& block = blocks_[current_];
    if (block.storage->bytes() - block.used >= bytes) {
      Tensor tensor(block.storage, dtype, shape, block.used);
      block.used += bytes;
      size_t in_use = 0;
      for (size_t i = 0; i <= current_; ++i) {
        in_use += blocks_[i].used;
      }
      peak_ = std::max(peak_, in_use);
      return tensor;
    }
    ++current_;
    if (current_ < blocks_.size()) {
      blocks_[current_].used = 0;
    }
  }
}

void Arena::rewind(Mark mark) noexcept {
  current_ = mark.block;
  if (!blocks_.empty()) {
    blocks_[current_].used = mark.used;
  }
}

size_t Arena::bytes_reserved() const noexcept {
  size_t total = 0;
  for (const Block& block : blocks_) {
    total += block.storage->bytes();
  }
  return total;
}

}  // namespace offbook::backend
