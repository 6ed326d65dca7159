// Random weights make attention nearly uniform, so a dropped page would hardly show. Here each
// head's query has one key that wins its softmax, at page edges, in the first and in the last rows:
// the answer is that key's value, and any page that is dropped, doubled or swapped gives another.
#include "tests/gpu/gpu_testing.h"

#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>

#include "src/base/float16.h"
#include "src/model/attention_path.h"
#include "src/ops/registry.h"

namespace offbook::gpu_tests {
namespace {

constexpr int64_t kPage = ops::kPageTokens;
constexpr int64_t kHeads = 32;
constexpr int64_t kKvHeads = 8;
constexpr int64_t kDim = 128;

class LongContextGpuTest : public GpuTest {
 protected:
  // Where head h's key stands, of n.
  static std::vector<int64_t> places(int64_t n) {
    const std::vector<int64_t> edges{0,         1,     kPage - 1, kPage,         2 * kPage - 1,
                                     2 * kPage, n / 2, n - kPage, n - kPage - 1, n - 2,
                                     n - 1};
    std::vector<int64_t> out;
    for (int64_t h = 0; h < kHeads; ++h) {
      out.push_back(edges[static_cast<size_t>(h) % edges.size()]);
    }
    return out;
  }

  // Largest distance of an output to the planted value, after `damage` was done to the page list.
  double worst(int64_t n, const std::function<void(std::vector<int32_t>&)>& damage) {
    const backend::ExecutionContext ctx = gpu_->context(backend::Compute::bf16);
    backend::ArenaScope scope(*ctx.arena);
    std::mt19937 rng(static_cast<uint32_t>(n));
    std::normal_distribution<float> normal(0, 1);
    const int64_t pages = (n + kPage - 1) / kPage;
    Tensor k = Tensor::empty(Dtype::bf16, {pages, kPage, kKvHeads, kDim});
    Tensor v = Tensor::empty(Dtype::bf16, {pages, kPage, kKvHeads, kDim});
    std::vector<int32_t> list(static_cast<size_t>(pages));
    for (int64_t p = 0; p < pages; ++p) {  // pages lie in another order than their tokens
      list[static_cast<size_t>(p)] = static_cast<int32_t>((p * 7 + 3) % pages);
    }
    if (pages % 7 == 0) {
      std::iota(list.rbegin(), list.rend(), 0);
    }
    for (int64_t i = 0; i < k.numel(); ++i) {
      k.data<Bf16>()[i] = to_bf16(0.05f * static_cast<float>(rng() % 201) * 0.01f - 0.05f);
      v.data<Bf16>()[i] = to_bf16(static_cast<float>(rng() % 2001) * 0.001f - 1);
    }
    Tensor q = Tensor::empty(Dtype::bf16, {1, kHeads, kDim});
    const std::vector<int64_t> at = places(n);
    std::vector<float> want(static_cast<size_t>(kHeads * kDim));
    const auto row = [&](int64_t token, int64_t kv) {
      return ((list[static_cast<size_t>(token / kPage)] * kPage + token % kPage) * kKvHeads + kv) *
             kDim;
    };
    for (int64_t h = 0; h < kHeads; ++h) {
      const int64_t from = row(at[static_cast<size_t>(h)], h / (kHeads / kKvHeads));
      for (int64_t d = 0; d < kDim; ++d) {
        const float x = normal(rng);
        q.data<Bf16>()[h * kDim + d] = to_bf16(x);
        // A place that heads of one group share answers to their sum.
        float& planted = planted_[from + d];
        planted += 4 * x;
        k.data<Bf16>()[from + d] = to_bf16(planted);
      }
    }
    planted_.clear();
    for (int64_t h = 0; h < kHeads; ++h) {
      const int64_t from = row(at[static_cast<size_t>(h)], h / (kHeads / kKvHeads));
      for (int64_t d = 0; d < kDim; ++d) {
        want[static_cast<size_t>(h * kDim + d)] = to_float(v.data<Bf16>()[from + d]);
      }
    }
    damage(list);
    const Tensor out = ctx.make(Dtype::bf16, {1, kHeads, kDim});
    const int32_t sequence[] = {0, 1, static_cast<int32_t>(n), 0};
    ops::paged_attention(
        ctx, {.q = backend::to_device(ctx, q),
              .k_pages = backend::to_device(ctx, k),
              .v_pages = backend::to_device(ctx, v),
              .page_list = model::make_ints(ctx, list, {pages}),
              .sequences = model::make_ints(ctx, sequence, {1, ops::kPagedSequenceFields}),
              .max_length = 1,
              .max_kv_length = static_cast<int32_t>(n),
              .scale = 1.0f / std::sqrt(static_cast<float>(kDim)),
              .out = out});
    const Tensor got = model::on_host(ctx, out);
    double most = 0;
    for (int64_t i = 0; i < got.numel(); ++i) {
      most = std::max<double>(
          most, std::abs(to_float(got.data<Bf16>()[i]) - want[static_cast<size_t>(i)]));
    }
    return most;
  }

 private:
  std::map<int64_t, float> planted_;
};

TEST_F(LongContextGpuTest, PlantedKeysAreFound) {
  for (const int64_t n :
       {int64_t{300}, int64_t{4096}, int64_t{4369}, int64_t{32'768}, int64_t{131'072}}) {
    EXPECT_LE(worst(n, [](auto&) {}), 0.03) << n << " tokens";
  }
}

// A whole page among whole pages may stand anywhere in the list: its keys are rotated already. So
// pages change places with the last one, which is not full.
TEST_F(LongContextGpuTest, ADroppedOrSwappedPageIsSeen) {
  constexpr int64_t kTokens = 131'072 - 17;
  constexpr size_t kMiddle = kTokens / 2 / kPage;
  EXPECT_LE(worst(kTokens, [](auto&) {}), 0.03);
  EXPECT_GT(worst(kTokens, [](auto& list) { std::swap(list.front(), list.back()); }), 0.1);
  EXPECT_GT(worst(kTokens, [](auto& list) { list.back() = list.front(); }), 0.1);
  EXPECT_GT(worst(kTokens, [](auto& list) { list[1] = list[7]; }), 0.1);
  EXPECT_GT(worst(kTokens, [](auto& list) { list[kMiddle] = list[3]; }), 0.1);
}

}  // namespace
}  // namespace offbook::gpu_tests
