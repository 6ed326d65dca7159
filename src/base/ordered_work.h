// Tasks that a few threads do ahead of the one who takes their results, in the order they came.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace offbook {

// For work that waits for disks or does not fit the compute pool: threads of its own. submit() and
// take() are called by one thread. Destroyed, it lets running tasks end and drops waiting ones.
template <typename Result>
class OrderedWork {
 public:
  explicit OrderedWork(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  }
  ~OrderedWork() {
    {
      const std::lock_guard lock(mutex_);
      is_closing_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }
  OrderedWork(const OrderedWork&) = delete;
  OrderedWork& operator=(const OrderedWork&) = delete;

  // Without threads the task is done here and now.
  void submit(std::function<Result()> task) {
    std::packaged_task<Result()> packaged(std::move(task));
    results_.push_back(packaged.get_future());
    if (threads_.empty()) {
      packaged();
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(packaged));
    }
    changed_.notify_one();
  }

  // Submitted and not taken: what the caller bounds.
  size_t size() const { return results_.size(); }

  // Of the oldest; waits for it, rethrows what it threw. There must be one.
  Result take() {
    std::future<Result> oldest = std::move(results_.front());
    results_.pop_front();
    return oldest.get();
  }

 private:
  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return is_closing_ || !tasks_.empty(); });
      if (is_closing_) {
        return;
      }
      std::packaged_task<Result()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::deque<std::future<Result>> results_;
  std::mutex mutex_;  // guards all below but the threads
  std::condition_variable changed_;
  std::deque<std::packaged_task<Result()>> tasks_;
  bool is_closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace offbook
