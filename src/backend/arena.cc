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

Arena::Arena(BlockAllocator& allocator, size_t block_bytes, size_t most_block_bytes)
    : allocator_(allocator),
      block_bytes_(block_bytes),
      most_block_bytes_(std::max(block_bytes, most_block_bytes)) {}

std::shared_ptr<Storage> Arena::fresh_block(size_t bytes) {
  const size_t usual = std::clamp(bytes_reserved() / 4, block_bytes_, most_block_bytes_);
  if (bytes >= usual) {
    return allocator_.allocate(bytes);
  }
  try {
    return allocator_.allocate(usual);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::OutOfMemory || usual <= block_bytes_) {
      throw;
    }
    return allocator_.allocate(bytes);  // the last room there is
  }
}

void Arena::advance() {
  used_before_ += blocks_[current_].used;
  ++current_;
  if (current_ < blocks_.size()) {
    blocks_[current_].used = 0;
  }
}

Tensor Arena::make(Dtype dtype, const Shape& shape) {
  const int64_t last = shape.rank() == 0 ? 1 : shape[-1];
  const auto exact = static_cast<size_t>(shape.numel() == 0 ? 0 : dtype_bytes(dtype, last) * (shape.numel() / last));
  const size_t bytes = (exact + kAlignment - 1) / kAlignment * kAlignment;
  while (true) {
    if (current_ == blocks_.size()) {
      blocks_.push_back({fresh_block(bytes), 0});
    }
    Block& block = blocks_[current_];
    if (block.storage->bytes() - block.used >= bytes) {
      Tensor tensor(block.storage, dtype, shape, block.used);
      block.used += bytes;
      peak_ = std::max(peak_, used_before_ + block.used);
      return tensor;
    }
    advance();
  }
}

void Arena::rewind(Mark mark) noexcept {
  for (; current_ > mark.block; --current_) {
    used_before_ -= blocks_[current_ - 1].used;
  }
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
