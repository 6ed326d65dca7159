#include "src/answer/group_vote.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace offbook::answer {
namespace {

GroupVote vote(const std::vector<std::string>& paths, double vote_rank = kVoteRank) {
  std::vector<retrieve::RankedPassage> passages;
  for (const std::string& path : paths) {
    passages.push_back({.path = path});
  }
  return vote_of_groups(
      passages, [](const std::string& path) { return path.substr(0, path.find('/')); }, vote_rank);
}

TEST(GroupVote, TheBestSayMostAndManyOutvoteOne) {
  EXPECT_EQ(vote({"a/1", "b/1"}).group, "a");
  EXPECT_EQ(vote({"a/1", "b/1", "b/2", "b/3"}).group, "b");
  EXPECT_EQ(vote({"a/1", "b/1", "b/2"}, 0).group, "a") << "1 against 1/2 + 1/3";
  EXPECT_EQ(vote({"a/1", "b/1", "b/2"}, 100).group, "b") << "nearly a vote a head";
  const GroupVote shares = vote({"a/1", "b/1", "a/2", "c/1"});
  ASSERT_EQ(shares.shares.size(), 3u);
  EXPECT_NEAR(shares.shares[0].second + shares.shares[1].second + shares.shares[2].second, 1,
              1e-12);
  EXPECT_EQ(shares.shares[0].first, "a");
}

TEST(GroupVote, NothingFoundIsNoGroup) {
  EXPECT_EQ(vote({}).group, "");
  EXPECT_TRUE(vote({}).shares.empty());
}

}  // namespace
}  // namespace offbook::answer
