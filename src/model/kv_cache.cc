#include "src/model/kv_cache.h"

#include <utility>

#include "src/base/error.h"
#include "src/ops/elementwise/elementwise.h"
#include "src/ops/paged_attention/paged_attention.h"

namespace offbook::model {

using ops::kPageTokens;

KvCache::KvCache(const backend::ExecutionContext& ctx, const ModelConfig& config, int64_t tokens, Dtype dtype) {
  OB_REQUIRE(tokens > 0, InvalidArgument, "a key/value cache needs room for at least one token, not {}", tokens);
  const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  const Shape shape{pages, kPageTokens, config.kv_heads, config.head_dim};
  const auto layer_bytes = static_cast<size_t>(dtype_bytes(dtype, shape.numel()));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    k_.emplace_back(ctx.arena->allocator().allocate(layer_bytes), dtype, shape);
    v_.emplace_back(ctx.arena->allocator().allocate(layer_bytes), dtype, shape);
  }
  bytes_ = static_cast<int64_t>(layer_bytes) * 2 * config.layers;
  owners_.assign(static_cast<size_t>(pages), 0);
  free_.reserve(owners_.size());
  for (int64_t page = pages - 1; page >= 0; --page) {
    free_.push_back(static_cast<int32_t>(page));
  }
}

int32_t KvCache::take_page() {
  OB_REQUIRE(!free_.empty(), OutOfMemory, "the key/value cache is full: {} tokens in {} MiB", pages() * kPageTokens,
             bytes_ >> 20);
  const int32_t page = free_.back();
  free_.pop_back();
  owners_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvCache::share_page(int32_t page) { ++owners_[static_cast<size_t>(page)]; }

void KvCache::release_page(int32_t page) {
  if (--owners_[static_cast<size_t>(page)] == 0) {
    free_.push_back(page);
  }
}

void KvCache::copy_page(const backend::ExecutionContext& ctx, int32_t from, int32_t to) const {
  for (const auto* tensors : {&k_, &v_}) {
    for (const Tensor& t : *tensors) {
      const Tensor flat = t.reshape({t.dim(0), t.numel() / t.dim(0)});
      ops::copy(ctx, {.x = flat.slice(0, from, from + 1), .out = flat.slice(0, to, to + 1)});
    }
  }
}

Sequence::Sequence(Sequence&& other) noexcept
    : cache_(other.cache_),
      pages_(std::exchange(other.pages_, {})),
      length_(std::exchange(other.length_, 0)),
      next_position_(std::exchange(other.next_position_, 0)) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  if (this != &other) {
    truncate(0);
    cache_ = other.cache_;
    pages_ = std::exchange(other.pages_, {});
    length_ = std::exchange(other.length_, 0);
    next_position_ = std::exchange(other.next_position_, 0);
  }
  return *this;
}

Sequence::~Sequence() { truncate(0); }

void Sequence::extend(const backend::ExecutionContext& ctx, int32_t tokens, std::vector<int32_t>& slots) {
  const auto needed = static_cast<size_t>((length_ + tokens + kPageTokens - 1) / kPageTokens);
  const bool writes_shared = tokens > 0 && length_ % kPageTokens != 0 && cache_->is_shared(pages_.back());
  const auto wanted = static_cast<int64_t>(needed - pages_.size()) + (writes_shared ? 1 : 0);
  OB_REQUIRE(wanted <= cache_->free_pages(), OutOfMemory,
             "the key/value cache has {} of {} pages free, {} are needed for {} more tokens", cache_->free_pages(),
             cache_->pages(), wanted, tokens);
  if (writes_shared) {
    const int32_t mine = cache_->take_page();
    cache_->copy_page(ctx, pages_.back(), mine);
    cache_->release_page(pages_.back());
    pages_.back() = mine;
  }
  while (pages_.size() < needed) {
    pages_.push_back(cache_->take_page());
  }
  for (int32_t i = length_; i < length_ + tokens; ++i) {
    slots.push_back(pages_[static_cast<size_t>(i / kPageTokens)] * kPageTokens + i % kPageTokens);
  }
  length_ += tokens;
  next_position_ += tokens;
}

void Sequence::truncate(int32_t length) {
  const auto keep = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  while (pages_.size() > keep) {
    cache_->release_page(pages_.back());
    pages_.pop_back();
  }
  length_ = length;
  next_position_ = length;
}

Sequence Sequence::fork() const {
  Sequence other(*cache_);
  other.pages_ = pages_;
  other.length_ = length_;
  other.next_position_ = next_position_;
  for (const int32_t page : pages_) {
    cache_->share_page(page);
  }
  return other;
}

}  // namespace offbook::model
