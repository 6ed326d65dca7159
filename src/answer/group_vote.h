// Which group of documents a question belongs to: the passages found vote.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/retrieve/retriever.h"

namespace offbook::answer {

struct GroupVote {
  std::string group;  // with most votes; "" where nothing was found
  // Shares of the votes, most first, equal ones by name. The group "" stands for documents of none.
  std::vector<std::pair<std::string, double>> shares;
};

// A passage of rank r, from 1, has 1 / (r + kVoteRank) votes: the best say most, and three of a
// group behind outvote one in front. A guess: no set has been measured with others yet.
inline constexpr double kVoteRank = 2;

// LLoCO (arXiv 2404.07979, 3.2) takes all passages to be of one group and suggests a majority vote.
GroupVote vote_of_groups(std::span<const retrieve::RankedPassage> passages,
                         const std::function<std::string(const std::string& path)>& group_of,
                         double vote_rank = kVoteRank);

}  // namespace offbook::answer
