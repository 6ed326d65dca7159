#include "src/metrics/losses.h"

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

TEST(Losses, PerplexityOfSums) {
  TokenLoss loss{2 * std::log(8), 2, 6};
  loss += {std::log(8), 1, 3};
  EXPECT_DOUBLE_EQ(loss.perplexity(), 8);
  EXPECT_DOUBLE_EQ(loss.bits_per_byte(), 1);
  EXPECT_THROW(TokenLoss{}.mean(), Error);
  EXPECT_THROW((TokenLoss{1, 1, 0}.bits_per_byte()), Error);
}

TEST(Losses, DomainsWeighTheSame) {
  DomainLoss loss;
  loss.add("books", 2);
  loss.add("books", 4);
  loss.add("meetings", 1);
  EXPECT_DOUBLE_EQ(loss.of("books"), 3);
  EXPECT_DOUBLE_EQ(loss.mean(), 2);
  EXPECT_DOUBLE_EQ(loss.mean_without("meetings"), 3);
  EXPECT_THROW(loss.of("stories"), Error);
  EXPECT_THROW(loss.add("books", NAN), Error);
  EXPECT_THROW(DomainLoss().mean(), Error);
}

TEST(Losses, GapAndShare) {
  EXPECT_NEAR(gap_recovered({.none = 3.485, .compressed = 0.536, .raw = 0.485}), 0.983, 5e-4);
  EXPECT_DOUBLE_EQ(gap_recovered({.none = 3, .compressed = 3, .raw = 2}), 0);
  EXPECT_GT(gap_recovered({.none = 3, .compressed = 1.9, .raw = 2}), 1);
  EXPECT_THROW(gap_recovered({.none = 3, .compressed = 2, .raw = 3}), Error);
  EXPECT_DOUBLE_EQ(document_share({.other = 3, .right = 2.5, .other_then_raw = 2}), 0.5);
  EXPECT_THROW(document_share({.other = NAN, .right = 1, .other_then_raw = 1}), Error);
}

}  // namespace
}  // namespace offbook::metrics
