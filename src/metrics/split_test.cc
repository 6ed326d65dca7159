#include "src/metrics/split.h"

namespace offbook::metrics {
namespace {

// python3 -c 'import hashlib,sys; print(int(hashlib.sha256(ID.encode()).hexdigest()[:8],16)%100)'
TEST(Split, HashIsFixedForGood) {
  EXPECT_EQ(split_hash(""), 10);
  EXPECT_EQ(split_hash("doc-1"), 93);
  EXPECT_EQ(split_hash("überall"), 58);
  EXPECT_EQ(split_hash("fairytaleqa-ali-baba-and-forty-thieves"), 36);
  EXPECT_EQ(split_part("id-7"), SplitPart::train);   // h = 69
  EXPECT_EQ(split_part("id-167"), SplitPart::tune);  // h = 70
  EXPECT_EQ(split_part("id-116"), SplitPart::tune);  // h = 79
  EXPECT_EQ(split_part("id-129"), SplitPart::test);  // h = 80
  EXPECT_EQ(split_fold("id-116"), 4);
  EXPECT_EQ(to_string(SplitPart::tune), "tune");
}

TEST(Split, PartsHaveTheirShares) {
  int counts[3] = {};
  for (int i = 0; i < 10000; ++i) {
    ++counts[static_cast<int>(split_part(fmt::format("document-{}", i)))];
  }
  EXPECT_NEAR(counts[0], 7000, 200);
  EXPECT_NEAR(counts[1], 1000, 120);
  EXPECT_NEAR(counts[2], 2000, 160);
}

}  // namespace
}  // namespace offbook::metrics
