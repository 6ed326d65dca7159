#include "src/answer/group_vote.h"

#include <algorithm>
#include <map>

namespace offbook::answer {

GroupVote vote_of_groups(std::span<const retrieve::RankedPassage> passages,
                         const std::function<std::string(const std::string& path)>& group_of,
                         double vote_rank) {
  std::map<std::string, double> votes;
  double total = 0;
  for (size_t i = 0; i < passages.size(); ++i) {
    const double vote = 1 / (static_cast<double>(i + 1) + vote_rank);
    votes[group_of(passages[i].path)] += vote;
    total += vote;
  }
  GroupVote out;
  for (const auto& [group, sum] : votes) {
    out.shares.emplace_back(group, sum / total);
  }
  std::stable_sort(out.shares.begin(), out.shares.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (!out.shares.empty()) {
    out.group = out.shares.front().first;
  }
  return out;
}

}  // namespace offbook::answer
