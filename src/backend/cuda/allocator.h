// Device memory in blocks that are kept for the next who asks, under a limit.
#pragma once
#include <map>
#include <memory>
#include <mutex>

#include "src/backend/arena.h"

namespace offbook::backend {

// Gives blocks of device memory; a block goes back to it when the last tensor over it is gone, and
// to the driver when memory is short or on trim(). Work that uses a block runs on one stream, so a
// block may be handed out again while earlier work still reads it: stream order keeps them apart.
// Thread-safe. Cost: a map look-up; a fresh block costs a cudaMalloc (0.1–1 ms).
class CudaAllocator final : public BlockAllocator {
 public:
  // At most `limit_bytes` of device memory, kept blocks included; 0: whatever the card has.
  explicit CudaAllocator(size_t limit_bytes = 0);
  // Blocks still referenced by tensors outlive it and are freed with them.
  ~CudaAllocator() override;

  // Throws OutOfMemory naming what was asked, held, the limit and what the card has free.
  std::shared_ptr<Storage> allocate(size_t bytes) override;

  size_t free_bytes() const override;
  size_t bytes_in_use() const;
  size_t bytes_kept() const;  // given back, and not yet returned to the driver
  size_t peak_bytes() const;  // largest in use at one time
  // Returns kept blocks to the driver.
  void trim();

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;
};

}  // namespace offbook::backend
