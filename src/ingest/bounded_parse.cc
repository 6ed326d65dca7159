#include "src/ingest/bounded_parse.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "src/base/error.h"

namespace offbook::ingest {
namespace {

constexpr size_t kHeader = 16;  // holds the size, for reallocate; keeps 16-byte alignment
constexpr size_t kBlockBytes = size_t{1} << 18;

thread_local ParseArena* current_arena = nullptr;

}  // namespace

ParseArena::ParseArena(const Limits& limits)
    : max_bytes_(limits.max_parser_bytes), max_seconds_(limits.max_parser_seconds) {}

ParseArena* ParseArena::current() noexcept {
  return current_arena;
}

void ParseArena::stop(Stop why) {
  std::longjmp(leave_, static_cast<int>(why));
}

void ParseArena::add_block(size_t at_least) {
  const size_t size = std::max(kBlockBytes, at_least);
  std::byte* block = new (std::nothrow) std::byte[size];
  if (block == nullptr) {
    stop(Stop::bytes);
  }
  blocks_.emplace_back(block);
  next_ = block;
  left_ = size;
}

void* ParseArena::allocate(size_t bytes) {
  if (bytes > max_bytes_ || used_bytes_ + bytes > max_bytes_) {
    stop(Stop::bytes);
  }
  // The clock costs 20 ns, an allocation 2; a parser that got slow makes few allocations a second,
  // so looking at every 64th still notices within a moment.
  if (++calls_ % 64 == 0 && std::chrono::steady_clock::now() > deadline_) {
    stop(Stop::time);
  }
  const size_t size = kHeader + (bytes + 15) / 16 * 16;
  if (size > left_) {
    add_block(size);
  }
  std::memcpy(next_, &bytes, sizeof(bytes));
  void* out = next_ + kHeader;
  next_ += size;
  left_ -= size;
  used_bytes_ += size;
  return out;
}

void* ParseArena::reallocate(void* old, size_t bytes) {
  size_t old_bytes = 0;
  if (old != nullptr) {
    std::memcpy(&old_bytes, static_cast<std::byte*>(old) - kHeader, sizeof(old_bytes));
    if (bytes <= old_bytes) {
      return old;
    }
  }
  void* out = allocate(bytes);
  if (old != nullptr) {
    std::memcpy(out, old, old_bytes);
  }
  return out;
}

void ParseArena::run(void (*step)(void* context), void* context, const char* what) {
  deadline_ = std::chrono::steady_clock::now() + std::chrono::seconds(max_seconds_);
  ParseArena* const outer = current_arena;
  current_arena = this;
  const int why = setjmp(leave_);
  if (why == 0) {
    step(context);
  }
  current_arena = outer;
  if (why == static_cast<int>(Stop::bytes)) {
    OB_THROW(Unsupported, "reading it as {} takes more memory than the limit of {}", what,
             format_bytes(max_bytes_));
  }
  OB_REQUIRE(why == 0, Unsupported, "reading it as {} takes longer than the limit of {} s", what,
             max_seconds_);
}

}  // namespace offbook::ingest
