// Memory for the tensors of a pass: handed out in order, given back by rewinding. Once the largest
// pass was seen nothing is allocated any more, and the same pass gets the same addresses (which
// CUDA graphs need).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/tensor/tensor.h"

namespace offbook::backend {

// Where an arena gets its blocks: host memory, or a device's.
class BlockAllocator {
 public:
  virtual ~BlockAllocator() = default;
  // At least `bytes`, aligned to 64 on the host and 256 on a device. Throws OutOfMemory naming sizes.
  virtual std::shared_ptr<Storage> allocate(size_t bytes) = 0;
  // What it could still give in all, as far as it knows.
  virtual size_t free_bytes() const { return SIZE_MAX; }
};

BlockAllocator& host_allocator();

// Not thread-safe: one arena belongs to one pass at a time.
class Arena {
 public:
  struct Mark {
    size_t block = 0;
    size_t used = 0;
  };

  // Blocks of `block_bytes`; up to `most_block_bytes` as the arena grows, so that it stays a list
  // of few blocks (training on a GPU holds tens of GiB).
  explicit Arena(BlockAllocator& allocator = host_allocator(), size_t block_bytes = size_t{8} << 20,
                 size_t most_block_bytes = 0);

  // A contiguous tensor with undefined elements, valid until the arena is rewound before it.
  Tensor make(Dtype dtype, const Shape& shape);

  Mark mark() const noexcept { return {current_, blocks_.empty() ? 0 : blocks_[current_].used}; }
  void rewind(Mark mark) noexcept;

  BlockAllocator& allocator() const noexcept { return allocator_; }
  // Blocks asked of the allocator since construction: constant in steady state, which a test counts.
  size_t blocks_allocated() const noexcept { return blocks_.size(); }
  size_t bytes_reserved() const noexcept;
  // Largest number of bytes in use at one time.
  size_t peak_bytes() const noexcept { return peak_; }

 private:
  struct Block {
    std::shared_ptr<Storage> storage;
    size_t used = 0;
  };
  std::shared_ptr<Storage> fresh_block(size_t bytes);
  void advance();

  BlockAllocator& allocator_;
  size_t block_bytes_;
  std::vector<Block> blocks_;
  size_t current_ = 0;
  size_t peak_ = 0;
  size_t used_before_ = 0;  // by the blocks before the current one
  size_t most_block_bytes_ = 0;
};

// Rewinds an arena to where it stood when the scope began.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace offbook::backend
