// Training on a GPU: the losses of the CPU, and a run that changes devices half-way.
#include "tests/gpu/gpu_testing.h"

#include <cmath>
#include <filesystem>

#include <unistd.h>

#include "src/model/lora_init.h"
#include "src/train/lora_task.h"

namespace offbook::gpu_tests {
namespace {

constexpr int64_t kSteps = 20;

class TrainingGpuTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    std::string pattern = testing::TempDir() + "/offbook_gpu_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override {
    if (!directory_.empty()) {
      std::filesystem::remove_all(directory_);
    }
  }

  std::vector<train::TrainingSequence> sequences() const {
    std::vector<train::TrainingSequence> out;
    for (int32_t s = 0; s < 24; ++s) {
      train::TrainingSequence one{.first_target = 3};
      for (int32_t i = 0; i < 24 + s; ++i) {
        one.tokens.push_back(
            static_cast<int32_t>((i * (s % 5 + 2) + s) % files_.config.vocab_size));
      }
      out.push_back(std::move(one));
    }
    return out;
  }

  // Losses of the steps this call made; stops after step `until`.
  std::vector<double> train_on(backend::ComputeDevice& device, backend::Compute compute,
                               int64_t until, const std::filesystem::path& checkpoint) {
    const backend::ExecutionContext ctx = device.context(compute);
    const model::Llama model = model_on(ctx);
    model::LoraAdapter adapter =
        model::on_device(ctx, model::make_lora_adapter(files_.config, {.rank = 4, .seed = 3}));
    train::LoraTask task(ctx, model, adapter, sequences(), {},
                         {.micro_batch_tokens = 200, .activations = ctx.activations()});
    std::vector<double> losses;
    train::train(ctx, real_file_system(), task,
                 {.steps = kSteps,
                  .accumulation = 2,
                  .lr = 0.01f,
                  .checkpoint = checkpoint,
                  .recipe = "test"},
                 [&](const train::StepReport& report) {
                   losses.push_back(report.loss);
                   return report.step < until;
                 });
    return losses;
  }

  std::filesystem::path directory_;
};

TEST_F(TrainingGpuTest, TwentyStepsFollowTheCpu) {
  const std::vector<double> want = train_on(cpu_, backend::Compute::f32, kSteps, {});
  const std::vector<double> exact = train_on(*gpu_, backend::Compute::f32, kSteps, {});
  const std::vector<double> fast = train_on(*gpu_, backend::Compute::bf16, kSteps, {});
  ASSERT_EQ(exact.size(), want.size());
  ASSERT_EQ(fast.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(exact[i], want[i], 1e-4 * want[i]) << "step " << i + 1;
    EXPECT_NEAR(fast[i], want[i], 1e-2 * want[i]) << "step " << i + 1 << " in bf16";
  }
  EXPECT_LT(want.back(), want.front());
}

TEST_F(TrainingGpuTest, ARunBegunOnOneDeviceGoesOnOnTheOther) {
  const std::vector<double> want = train_on(cpu_, backend::Compute::f32, kSteps, {});
  for (const bool gpu_first : {true, false}) {
    const auto file = directory_ / (gpu_first ? "gpu_first" : "cpu_first");
    backend::ComputeDevice& first = gpu_first ? *gpu_ : cpu_;
    backend::ComputeDevice& second = gpu_first ? cpu_ : *gpu_;
    const auto head = train_on(first, backend::Compute::f32, kSteps / 2, file);
    const auto tail = train_on(second, backend::Compute::f32, kSteps, file);
    ASSERT_EQ(head.size() + tail.size(), want.size());
    for (size_t i = 0; i < tail.size(); ++i) {
      EXPECT_NEAR(tail[i], want[head.size() + i], 1e-3 * want[head.size() + i])
          << "step " << head.size() + i + 1;
    }
  }
}

}  // namespace
}  // namespace offbook::gpu_tests
