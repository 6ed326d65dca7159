// Where the time of passes goes, operation by operation.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace offbook::backend {

// Gathers times while a context points to it. On a GPU they are the device's, between events around
// what each operation queues: nothing waits, so gaps show as the difference to the wall clock.
// Not thread-safe.
class OpProfile {
 public:
  struct Line {
    std::string what;
    int64_t calls = 0;
    double ms = 0;
  };

  virtual ~OpProfile() = default;
  // Around one operation, on the thread that runs it.
  virtual void begin() = 0;
  virtual void end(std::string what) = 0;
  // What was gathered since the last call, the longest first. Waits for a GPU.
  virtual std::vector<Line> take() = 0;
};

// By the wall clock: for the CPU.
std::unique_ptr<OpProfile> host_profile();

// A table of the lines that make up 99% of the time, with shares of `wall_ms`, which is that of
// everything around the operations.
std::string profile_table(const std::vector<OpProfile::Line>& lines, double wall_ms);

}  // namespace offbook::backend
