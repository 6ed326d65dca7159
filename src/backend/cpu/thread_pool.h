// The one pool of threads that all CPU work runs on.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace offbook::backend {

// Runs tasks 0…n-1 on the calling thread and threads - 1 workers. Workers spin for some
// microseconds after a run, since the next one usually follows at once, then sleep.
// run() may be called from one thread at a time; tasks must not call run().
class ThreadPool {
 public:
  // threads ≥ 1; the calling thread counts as one.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(task) for every task in [0, tasks), in any order, and returns when all are done. The
  // first exception of a task is thrown here after the others finished. Allocates nothing.
  template <typename Fn>
  void run(int64_t tasks, const Fn& fn) {
    static_assert(std::is_invocable_v<const Fn&, int64_t>);
    run_erased(tasks, &fn, [](const void* f, int64_t task) { (*static_cast<const Fn*>(f))(task); });
  }

  // Cuts [0, n) into pieces of `grain` and calls fn(begin, end) for each. The cut does not depend on
  // the number of threads, so neither do results.
  template <typename Fn>
  void parallel_for(int64_t n, int64_t grain, const Fn& fn) {
    run((n + grain - 1) / grain, [&](int64_t piece) {
      const int64_t begin = piece * grain;
      fn(begin, begin + grain < n ? begin + grain : n);
    });
  }

 private:
  using Erased = void (*)(const void*, int64_t);
  void run_erased(int64_t tasks, const void* fn, Erased call);
  void work();
  void worker_main();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> next_{0};
  std::atomic<int> busy_{0};
  std::atomic<int> sleeping_{0};
  int64_t tasks_ = 0;
  const void* fn_ = nullptr;
  Erased call_ = nullptr;
  std::exception_ptr error_;
};

// Cores this process may run on, at most 64.
int default_thread_count();

}  // namespace offbook::backend
