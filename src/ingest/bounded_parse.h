// Runs a C parser (gumbo, cmark-gfm) with its memory in an arena, under a limit of bytes and time.
//
// Why: both libraries read hostile pages in time that can grow with the square of the size, free
// deep trees by recursion, and abort or crash when malloc refuses. With an arena nothing is freed
// node by node, and an allocation over a limit leaves the parser by longjmp: legal here because
// only C frames, which have no destructors, lie between the allocator and run().
#pragma once
#include <chrono>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/ingest/limits.h"

namespace offbook::ingest {

// Memory for one parse; all of it goes with the arena. Used by one thread at a time.
class ParseArena {
 public:
  explicit ParseArena(const Limits& limits);
  ParseArena(const ParseArena&) = delete;
  ParseArena& operator=(const ParseArena&) = delete;

  // Calls step(context). Returns normally when it did; throws Unsupported, naming `what`, when it
  // ran out of bytes or time. `step` and all it calls must own nothing that needs a destructor.
  void run(void (*step)(void* context), void* context, const char* what);

  // 16-byte aligned; never null inside run().
  void* allocate(size_t bytes);
  void* reallocate(void* old, size_t bytes);

  // The arena whose run() this thread is in, for allocators that have no user pointer.
  static ParseArena* current() noexcept;

 private:
  enum class Stop : int { none = 0, bytes = 1, time = 2 };
  [[noreturn]] void stop(Stop why);
  void add_block(size_t at_least);

  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
  uint64_t used_bytes_ = 0;
  uint64_t max_bytes_;
  int max_seconds_;
  uint32_t calls_ = 0;
  std::chrono::steady_clock::time_point deadline_;
  std::jmp_buf leave_;
};

}  // namespace offbook::ingest
