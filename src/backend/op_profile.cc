#include "src/backend/op_profile.h"

#include <algorithm>
#include <chrono>
#include <map>

#include <fmt/format.h>

namespace offbook::backend {
namespace {

class HostProfile final : public OpProfile {
 public:
  void begin() override {
    if (depth_++ == 0) {
      began_ = std::chrono::steady_clock::now();
    }
  }
  void end(std::string what) override {
    if (--depth_ > 0) {
      return;
    }
    Line& line = lines_[what];
    line.what = std::move(what);
    ++line.calls;
    line.ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began_)
                   .count();
  }
  std::vector<Line> take() override {
    depth_ = 0;
    std::vector<Line> out;
    for (auto& [what, line] : lines_) {
      out.push_back(std::move(line));
    }
    lines_.clear();
    std::sort(out.begin(), out.end(), [](const Line& a, const Line& b) { return a.ms > b.ms; });
    return out;
  }

 private:
  int depth_ = 0;
  std::chrono::steady_clock::time_point began_;
  std::map<std::string, Line> lines_;
};

}  // namespace

std::unique_ptr<OpProfile> host_profile() {
  return std::make_unique<HostProfile>();
}

std::string profile_table(const std::vector<OpProfile::Line>& lines, double wall_ms) {
  double total = 0;
  for (const OpProfile::Line& line : lines) {
    total += line.ms;
  }
  std::string out = fmt::format("{:<46} {:>8} {:>10} {:>9} {:>6}\n", "operation", "calls", "ms",
                                "µs each", "share");
  double shown = 0;
  for (const OpProfile::Line& line : lines) {
    if (shown > 0.99 * total) {
      break;
    }
    shown += line.ms;
    out +=
        fmt::format("{:<46} {:>8} {:>10.2f} {:>9.1f} {:>5.1f}%\n", line.what, line.calls, line.ms,
                    1e3 * line.ms / static_cast<double>(line.calls), 100 * line.ms / wall_ms);
  }
  return out + fmt::format("{:<46} {:>8} {:>10.2f} {:>9} {:>5.1f}%\n",
                           "all operations, of the wall clock", "", total, "",
                           100 * total / wall_ms);
}

}  // namespace offbook::backend
