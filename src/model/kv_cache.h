// Keys (after RoPE) and values of running sequences, in pages of 64 tokens that sequences may share.
#pragma once
#include <cstdint>
#include <vector>

#include "src/backend/context.h"
#include "src/model/import/model_config.h"

namespace offbook::model {

// All memory is taken at construction. Not thread-safe.
class KvCache {
 public:
  // Room for `tokens` (rounded up to pages) in every layer, as f32 or bf16.
  // Bytes: layers × 2 × tokens × kv_heads × head_dim × element.
  KvCache(const backend::ExecutionContext& ctx, const ModelConfig& config, int64_t tokens, Dtype dtype);

  const Tensor& k(int layer) const { return k_[static_cast<size_t>(layer)]; }  // [pages, 64, kv_heads, dim]
  const Tensor& v(int layer) const { return v_[static_cast<size_t>(layer)]; }

  // A page with one owner. Throws OutOfMemory naming the cache's size when none is free.
  int32_t take_page();
  void share_page(int32_t page);    // one more owner
  void release_page(int32_t page);  // free when the last owner left
  bool is_shared(int32_t page) const { return owners_[static_cast<size_t>(page)] > 1; }
  // Copies all layers of one page.
  void copy_page(const backend::ExecutionContext& ctx, int32_t from, int32_t to) const;
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t pages() const { return static_cast<int64_t>(owners_.size()); }
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<Tensor> k_;
  std::vector<Tensor> v_;
  std::vector<int32_t> owners_;
  std::vector<int32_t> free_;
  int64_t bytes_ = 0;
};

// What one conversation has in the cache. Movable; gives its pages back when it goes. The cache must
// outlive it.
class Sequence {
 public:
  explicit Sequence(KvCache& cache) : cache_(&cache) {}
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  ~Sequence();

  int32_t length() const { return length_; }
  // Position id of the next token; equal to length() unless the caller set positions.
  int32_t next_position() const { return next_position_; }
  void set_next_position(int32_t position) { next_position_ = position; }
  const std::vector<int32_t>& pages() const { return pages_; }

  // Makes room for `tokens` more and counts them in. A last page that is shared is copied first.
  // Appends the slot (page × 64 + place) of each to `slots`.
  void extend(const backend::ExecutionContext& ctx, int32_t tokens, std::vector<int32_t>& slots);
  // Forgets the tokens from `length` on. next_position() becomes `length`.
  void truncate(int32_t length);
  // A second sequence with the same content; full pages and the last one are shared until written to.
  Sequence fork() const;

 private:
  KvCache* cache_;
  std::vector<int32_t> pages_;
  int32_t length_ = 0;
  int32_t next_position_ = 0;
};

}  // namespace offbook::model
