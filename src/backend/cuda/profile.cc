#include "src/backend/cuda/profile.h"

#include <algorithm>

namespace offbook::backend {

void CudaProfile::begin() {
  if (depth_++ > 0) {
    return;
  }
  if (used_ == pairs_.size()) {
    pairs_.push_back(std::make_unique<Pair>());
  }
  pairs_[used_]->begin.record(state_.stream.get());
}

void CudaProfile::end(std::string what) {
  if (--depth_ > 0) {
    return;
  }
  pairs_[used_]->end.record(state_.stream.get());
  pairs_[used_]->what = std::move(what);
  ++used_;
  if (used_ == kMostPairs) {
    gather();
  }
}

void CudaProfile::gather() {
  state_.wait();
  for (size_t i = 0; i < used_; ++i) {
    Line& line = lines_[pairs_[i]->what];
    ++line.calls;
    line.ms += static_cast<double>(pairs_[i]->end.ms_since(pairs_[i]->begin));
  }
  used_ = 0;
}

std::vector<OpProfile::Line> CudaProfile::take() {
  depth_ = 0;
  gather();
  std::vector<Line> out;
  for (auto& [what, line] : lines_) {
    line.what = what;
    out.push_back(std::move(line));
  }
  lines_.clear();
  std::sort(out.begin(), out.end(), [](const Line& a, const Line& b) { return a.ms > b.ms; });
  return out;
}

}  // namespace offbook::backend
