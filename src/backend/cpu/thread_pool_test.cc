#include "src/backend/cpu/thread_pool.h"

#include <chrono>
#include <stdexcept>

namespace offbook::backend {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceManyTimes) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> hits(97);
  for (int round = 0; round < 500; ++round) {
    pool.run(97, [&](int64_t i) { hits[static_cast<size_t>(i)].fetch_add(1, std::memory_order_relaxed); });
  }
  for (const auto& h : hits) {
    EXPECT_EQ(h.load(), 500);
  }
}

TEST(ThreadPool, WakesWorkersThatSleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int64_t> sum{0};
    pool.parallel_for(1000, 64, [&](int64_t b, int64_t e) { sum += e - b; });
    EXPECT_EQ(sum.load(), 1000);
  }
}

TEST(ThreadPool, ThrowsTheTasksErrorAndStaysUsable) {
  ThreadPool pool(2);
  const auto fifth_fails = [](int64_t i) {
    if (i == 5) {
      throw std::runtime_error("five");
    }
  };
  EXPECT_THROW(pool.run(8, fifth_fails), std::runtime_error);
  std::atomic<int> n{0};
  pool.run(8, [&](int64_t) { ++n; });
  EXPECT_EQ(n.load(), 8);
}

}  // namespace
}  // namespace offbook::backend
