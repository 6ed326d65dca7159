#include "src/backend/cuda/sdpa.h"

#include <gtest/gtest.h>

namespace offbook::backend {
namespace {

struct Heads {
  int32_t heads;
  int32_t kv_heads;
  int32_t dim;
};

SdpaShape shape_of(const Heads& h, SdpaPass pass, SdpaMask mask, bool packed) {
  SdpaShape s{.pass = pass,
              .mask = mask,
              .packed = packed,
              .has_lse = true,
              .heads = h.heads,
              .kv_heads = h.kv_heads,
              .dim = h.dim,
              .sequences = packed ? 4 : 1,
              .max_queries = 512,
              .max_keys = mask == SdpaMask::causal_from_end ? 1024 : 512,
              .query_rows = packed ? 2048 : 0,
              .key_rows = packed ? 4096 : 0,
              .scale = 0.125f};
  for (const SdpaTensor t : {SdpaTensor::q, SdpaTensor::out, SdpaTensor::d_out, SdpaTensor::d_q}) {
    s.strides[static_cast<size_t>(t)] = {int64_t{h.heads} * h.dim, h.dim};
  }
  for (const SdpaTensor t : {SdpaTensor::k, SdpaTensor::v, SdpaTensor::d_k, SdpaTensor::d_v}) {
    s.strides[static_cast<size_t>(t)] = {int64_t{h.kv_heads} * h.dim, h.dim};
  }
  return s;
}

bool installed() {
  const std::string why = SdpaLibrary::validate(
      shape_of({32, 32, 128}, SdpaPass::forward, SdpaMask::causal, false), 90);
  return why.find("not found") == std::string::npos && why.find("without") == std::string::npos;
}

TEST(Sdpa, TheFrontendTakesEveryShapeThatAttentionAsksFor) {
  if (!installed()) {
    GTEST_SKIP() << "no cuDNN here";
  }
  for (const Heads& h : {Heads{9, 3, 64}, Heads{32, 32, 128}, Heads{32, 8, 128}}) {
    for (const SdpaPass pass : {SdpaPass::forward, SdpaPass::backward}) {
      for (const SdpaMask mask : {SdpaMask::full, SdpaMask::causal, SdpaMask::causal_from_end}) {
        for (const bool packed : {false, true}) {
          for (const bool repeatable : {false, true}) {
            SdpaShape s = shape_of(h, pass, mask, packed);
            s.repeatable = repeatable;
            EXPECT_EQ(SdpaLibrary::validate(s, 90), "")
                << h.heads << "/" << h.kv_heads << " pass " << static_cast<int>(pass) << " mask "
                << static_cast<int>(mask) << " packed " << packed;
          }
        }
      }
    }
  }
}

TEST(Sdpa, TheFrontendRefusesHeadsThatNoKernelTakes) {
  if (!installed()) {
    GTEST_SKIP() << "no cuDNN here";
  }
  EXPECT_NE(
      SdpaLibrary::validate(shape_of({4, 4, 60}, SdpaPass::forward, SdpaMask::causal, true), 90),
      "");
  EXPECT_NE(
      SdpaLibrary::validate(shape_of({8, 3, 64}, SdpaPass::forward, SdpaMask::causal, true), 90),
      "");
}

TEST(Sdpa, BoundsAreFewAndClose) {
  EXPECT_EQ(sdpa_bound(1), 64);
  EXPECT_EQ(sdpa_bound(64), 64);
  EXPECT_EQ(sdpa_bound(65), 128);
  EXPECT_EQ(sdpa_bound(4096), 4096);
  EXPECT_EQ(sdpa_bound(4097), 6144);
  EXPECT_EQ(sdpa_bound(1, 1), 1);
  EXPECT_EQ(sdpa_bound(5, 1), 6);
  EXPECT_EQ(sdpa_bound(80, 1), 96);
  int bounds = 0;
  int64_t last = 0;
  for (int64_t n = 1; n <= 131072; ++n) {
    const int64_t bound = sdpa_bound(n);
    ASSERT_GE(bound, n);
    ASSERT_GE(bound, last);
    ASSERT_LE(bound, std::max<int64_t>(n + n / 2 + 1, n + 64));
    bounds += bound != last ? 1 : 0;
    last = bound;
  }
  EXPECT_LE(bounds, 25);
}

TEST(Sdpa, TablesHoldLengthsAndOffsetsOfEveryTensor) {
  SdpaShape s = shape_of({32, 8, 128}, SdpaPass::forward, SdpaMask::causal, true);
  EXPECT_EQ(sdpa_table_entries(s), 2 * 4 + 5 * 5);
  s.pass = SdpaPass::backward;
  EXPECT_EQ(sdpa_table_entries(s), 2 * 4 + 9 * 5);
}

}  // namespace
}  // namespace offbook::backend
