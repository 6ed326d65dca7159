#include "src/metrics/correlation.h"

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

TEST(Correlation, TiesShareTheirRank) {
  EXPECT_THAT(mean_ranks(std::vector{3.0, 1.0, 3.0, 2.0}), testing::ElementsAre(3.5, 1, 3.5, 2));
}

TEST(Correlation, SpearmanSeesOrderOnly) {
  const std::vector<double> x = {1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(spearman(x, std::vector{1.0, 10.0, 11.0, 1000.0}), 1);
  EXPECT_DOUBLE_EQ(spearman(x, std::vector{4.0, 3.0, 2.0, 1.0}), -1);
  EXPECT_THROW(spearman(x, std::vector{1.0}), Error);
  EXPECT_THROW(spearman(x, std::vector{1.0, 1.0, 1.0, 1.0}), Error);
  EXPECT_THROW(spearman(x, std::vector<double>{1.0, NAN, 1.0, 2.0}), Error);
}

}  // namespace
}  // namespace offbook::metrics
