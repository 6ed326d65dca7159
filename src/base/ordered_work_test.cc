#include "src/base/ordered_work.h"

#include <atomic>
#include <stdexcept>

#include <gtest/gtest.h>

namespace offbook {
namespace {

TEST(OrderedWork, ResultsComeInTheOrderOfTheirTasks) {
  for (const int threads : {0, 1, 4}) {
    OrderedWork<int> work(threads);
    std::vector<int> got;
    for (int i = 0; i < 100; ++i) {
      work.submit([i] {
        if (i % 7 == 0) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return i * i;
      });
      while (work.size() > 8) {
        got.push_back(work.take());
      }
    }
    while (work.size() > 0) {
      got.push_back(work.take());
    }
    ASSERT_EQ(got.size(), 100u);
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(got[static_cast<size_t>(i)], i * i);
    }
  }
}

TEST(OrderedWork, FailuresComeOutWhereTheirResultIsTaken) {
  OrderedWork<int> work(2);
  work.submit([] { return 1; });
  work.submit([]() -> int { throw std::runtime_error("second"); });
  work.submit([] { return 3; });
  EXPECT_EQ(work.take(), 1);
  EXPECT_THROW(work.take(), std::runtime_error);
  EXPECT_EQ(work.take(), 3);
}

TEST(OrderedWork, WhatWaitsIsDroppedAtTheEnd) {
  std::atomic<int> done = 0;
  {
    OrderedWork<int> work(1);
    for (int i = 0; i < 1000; ++i) {
      work.submit([&done] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return ++done;
      });
    }
  }
  EXPECT_LT(done, 1000);
}

}  // namespace
}  // namespace offbook
