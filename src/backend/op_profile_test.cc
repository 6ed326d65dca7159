#include "src/backend/op_profile.h"

#include <gtest/gtest.h>

namespace offbook::backend {
namespace {

// Attention clears its gradients with an operation of its own: that is attention's time.
TEST(OpProfile, AnOperationWithinAnotherIsPartOfIt) {
  const auto profile = host_profile();
  profile->begin();
  profile->begin();
  profile->end("fill");
  profile->end("attention_backward");
  profile->begin();
  profile->end("fill");
  const std::vector<OpProfile::Line> lines = profile->take();
  ASSERT_EQ(lines.size(), 2u);
  for (const OpProfile::Line& line : lines) {
    EXPECT_EQ(line.calls, 1) << line.what;
  }
}

// An operation that threw never ended; what comes after take() counts again.
TEST(OpProfile, TakingForgetsWhatNeverEnded) {
  const auto profile = host_profile();
  profile->begin();
  EXPECT_TRUE(profile->take().empty());
  profile->begin();
  profile->end("add");
  EXPECT_EQ(profile->take().size(), 1u);
}

}  // namespace
}  // namespace offbook::backend
