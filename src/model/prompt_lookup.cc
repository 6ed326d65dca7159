#include "src/model/prompt_lookup.h"

#include <algorithm>

namespace offbook::model {
namespace {

constexpr size_t kMatch = 3;  // tokens that must stand in the text before
// Of a step with one row, for every further row: docs/results/cpu.md, decode with 8 rows.
constexpr double kRowCost = 0.15;
// Steps that guessing may lose before it stops: some to begin with, and a share of the answer.
constexpr double kStake = 0.6;
constexpr double kShare = 0.01;

}  // namespace

std::span<const int32_t> PromptLookup::draft(int room) {
  draft_.clear();
  const int wanted = std::min({room, limit_, kMost});
  if (wanted <= 0 || text_.size() <= kMatch || balance_ < -(kStake + kShare * pushed_)) {
    return draft_;
  }
  // The latest place counts: text repeats itself nearby.
  const int32_t* const end = text_.data() + text_.size();
  const int32_t* const last = end - kMatch;
  for (const int32_t* at = last - 1; at >= text_.data(); --at) {
    if (std::equal(at, at + kMatch, last)) {
      const auto behind = end - (at + kMatch);
      draft_.assign(at + kMatch, at + kMatch + std::min<ptrdiff_t>(wanted, behind));
      break;
    }
  }
  return draft_;
}

void PromptLookup::report(int accepted) {
  const auto drafted = static_cast<int>(draft_.size());
  if (drafted == 0) {
    return;
  }
  balance_ += accepted - kRowCost * drafted;
  draft_.clear();
  limit_ = accepted == drafted ? kMost : std::max(2, std::min(kMost, accepted + 2));
}

}  // namespace offbook::model
