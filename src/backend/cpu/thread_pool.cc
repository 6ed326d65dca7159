#include "src/backend/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "src/base/error.h"

namespace offbook::backend {
namespace {

// About 50 µs: longer than the gap between two operations of a decode step, shorter than anything a
// person would see as load.
constexpr int kSpins = 4000;

}  // namespace

ThreadPool::ThreadPool(int threads) {
  OB_REQUIRE(threads >= 1 && threads <= 1024, InvalidArgument, "a thread pool needs 1…1024 threads, not {}", threads);
  workers_.reserve(static_cast<size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this] { worker_main(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::work() {
  while (true) {
    const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_) {
      return;
    }
    try {
      call_(fn_, task);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) {
        error_ = std::current_exception();
      }
    }
  }
}

void ThreadPool::run_erased(int64_t tasks, const void* fn, Erased call) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) {
      call(fn, task);
    }
    return;
  }
  fn_ = fn;
  call_ = call;
  tasks_ = tasks;
  error_ = nullptr;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(mutex_); }  // a worker between its last look and its wait holds the lock
    wake_.notify_all();
  }
  work();
  for (int spins = 0; busy_.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      __builtin_ia32_pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (error_) {
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void ThreadPool::worker_main() {
  uint64_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && round_.load(std::memory_order_acquire) == seen && !stop_; ++spins) {
      __builtin_ia32_pause();
    }
    if (round_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return stop_ || round_.load(std::memory_order_seq_cst) != seen; });
      sleeping_.fetch_sub(1, std::memory_order_relaxed);
    }
    if (stop_) {
      return;
    }
    ++seen;  // no round can be missed: run() waits for every worker
    work();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

int default_thread_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int count = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::clamp(count, 1, 64);
}

}  // namespace offbook::backend
