#include "src/model/prompt_lookup.h"

#include <algorithm>

namespace offbook::model {
namespace {

// Tokens that must stand in the text before; of so few only a short draft is worth its rows, of
// kSure a long one.
constexpr ptrdiff_t kMatch = 2;
constexpr ptrdiff_t kSure = 3;
constexpr int kUnsure = 3;          // guesses behind a shorter match
constexpr ptrdiff_t kLongest = 16;  // where longer matches no longer differ
// Of a step with one row, for every further row: docs/results/cpu.md, decode with 8 rows.
constexpr double kRowCost = 0.15;
// Steps that guessing may lose before it stops: some to begin with, and a share of the answer.
constexpr double kStake = 0.6;
constexpr double kShare = 0.01;

}  // namespace

std::span<const int32_t> PromptLookup::draft(int room) {
  draft_.clear();
  if (room <= 0 || balance_ < -(kStake + kShare * pushed_)) {
    return draft_;
  }
  const auto size = static_cast<ptrdiff_t>(text_.size());
  const int32_t* const end = text_.data() + size;
  // The longest match counts, and of equal ones the latest: text repeats itself nearby.
  ptrdiff_t longest = kMatch - 1;
  ptrdiff_t behind = 0;  // tokens that follow it
  for (ptrdiff_t back = 1; back < size; ++back) {
    const int32_t* const at = end - back;
    const ptrdiff_t most = std::min(kLongest, size - back);
    ptrdiff_t match = 0;
    while (match < most && at[-1 - match] == end[-1 - match]) {
      ++match;
    }
    if (match > longest) {
      longest = match;
      behind = back;
    }
  }
  const int most = longest >= kSure ? std::min(limit_, kMost) : std::min(limit_, kUnsure);
  const auto wanted = std::min<ptrdiff_t>(std::min(room, most), behind);
  draft_.assign(end - behind, end - behind + wanted);
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
