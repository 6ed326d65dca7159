#include "src/train/trainer.h"

#include <numeric>
#include <unistd.h>

#include "src/autograd/functional.h"
#include "src/base/random.h"
#include "src/ops/registry.h"
#include "src/train/checkpoint.h"

namespace offbook::train {
namespace {

using backend::ExecutionContext;

// Least squares: y = x wᵀ for a hidden w, through the real linear operation and tape.
class Regression final : public TrainingTask {
 public:
  explicit Regression(const ExecutionContext& ctx) : weight_(Tensor::zeros(Dtype::f32, {1, kInputs})) {
    parameters_.push_back(make_parameter(ctx, "w", weight_));
  }
  std::vector<Parameter>& parameters() override { return parameters_; }
  LossSum micro_batch(const Graph& g, uint64_t seed) override { return run(g, seed); }
  std::optional<LossSum> evaluate(const Graph& g) override { return run(g, 12345); }
  Tensor weight() const { return weight_; }
  double poison_at_step = 0;  // NaN losses from this micro-batch on; 0: never

 private:
  static constexpr int64_t kInputs = 4;
  static constexpr int64_t kRows = 8;

  LossSum run(const Graph& g, uint64_t seed) {
    Random random(seed);
    const Tensor x = g.ctx.make(Dtype::f32, {kRows, kInputs});
    std::vector<float> wanted;
    for (int64_t r = 0; r < kRows; ++r) {
      float y = 0;
      for (int64_t i = 0; i < kInputs; ++i) {
        x.data<float>()[r * kInputs + i] = static_cast<float>(random.normal());
        y += x.data<float>()[r * kInputs + i] * static_cast<float>(i + 1);
      }
      wanted.push_back(y);
    }
    const Tensor out = autograd::linear(g, x, weight_, Tensor());
    double sum = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      const float d = out.data<float>()[r] - wanted[static_cast<size_t>(r)];
      sum += static_cast<double>(d) * d;
      if (g.tape != nullptr) {
        g.tape->accumulator(out).data<float>()[r] = 2 * d;
      }
    }
    ++runs_;
    if (poison_at_step > 0 && runs_ > poison_at_step) {
      sum = std::nan("");
    }
    return {sum, static_cast<double>(kRows)};
  }

  Tensor weight_;
  std::vector<Parameter> parameters_;
  int runs_ = 0;
};

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/offbook_train_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  TrainerOptions options(int64_t steps) const {
    return {.steps = steps, .accumulation = 2, .lr = 0.3f, .evaluate_every = 10, .checkpoint = dir_ / "state", .recipe = "r"};
  }
  static std::vector<float> values(const Regression& task) {
    return {task.weight().data<float>(), task.weight().data<float>() + 4};
  }

  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  ExecutionContext ctx_{.backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  std::filesystem::path dir_;
};

TEST_F(TrainerTest, FindsTheWeights) {
  Regression task(ctx_);
  const TrainResult result = train(ctx_, real_file_system(), task, options(200), [](const StepReport&) { return true; });
  EXPECT_EQ(result.end, TrainEnd::finished);
  EXPECT_EQ(result.steps, 200);
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(values(task)[static_cast<size_t>(i)], i + 1, 0.05);
  }
}

TEST_F(TrainerTest, StoppedAndResumedGivesTheSameBits) {
  Regression undisturbed(ctx_);
  TrainerOptions plain = options(40);
  plain.checkpoint.clear();
  train(ctx_, real_file_system(), undisturbed, plain, [](const StepReport&) { return true; });

  const TrainerOptions resumable = options(40);
  for (const int64_t stop : {7, 23}) {
    Regression task(ctx_);
    const auto result =
        train(ctx_, real_file_system(), task, resumable, [&](const StepReport& r) { return r.step < stop; });
    EXPECT_EQ(result.end, TrainEnd::cancelled);
    EXPECT_EQ(result.steps, stop);
  }
  Regression last(ctx_);
  EXPECT_EQ(train(ctx_, real_file_system(), last, resumable, [](const StepReport&) { return true; }).steps, 40);
  EXPECT_EQ(values(last), values(undisturbed));
}

TEST_F(TrainerTest, NanEndsTheRunWithTheLastGoodState) {
  Regression task(ctx_);
  task.poison_at_step = 13;  // two micro-batches a step: the seventh step is poisoned
  std::vector<float> before;
  const auto result = train(ctx_, real_file_system(), task, options(40), [&](const StepReport& r) {
    if (r.step == 6) {
      before = values(task);
    }
    return true;
  });
  EXPECT_EQ(result.end, TrainEnd::diverged);
  EXPECT_EQ(result.steps, 6);
  EXPECT_EQ(values(task), before);
}

TEST_F(TrainerTest, AnotherRecipeIsRefused) {
  Regression task(ctx_);
  train(ctx_, real_file_system(), task, options(10), [](const StepReport& r) { return r.step < 3; });
  TrainerOptions other = options(10);
  other.recipe = "other";
  EXPECT_THROW(train(ctx_, real_file_system(), task, other, [](const StepReport&) { return true; }), Error);
}

TEST_F(TrainerTest, ADamagedCheckpointIsCorrupt) {
  Regression task(ctx_);
  train(ctx_, real_file_system(), task, options(10), [](const StepReport& r) { return r.step < 3; });
  std::filesystem::resize_file(dir_ / "state", std::filesystem::file_size(dir_ / "state") / 2);
  try {
    train(ctx_, real_file_system(), task, options(10), [](const StepReport&) { return true; });
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Corrupt);
  }
}

TEST(CosineRate, WarmsUpAndDecays) {
  EXPECT_FLOAT_EQ(cosine_rate(1, 1, 100, 4, 0), 0.25f);
  EXPECT_FLOAT_EQ(cosine_rate(1, 4, 100, 4, 0), 1.0f);
  EXPECT_NEAR(cosine_rate(1, 52, 100, 4, 0), 0.5f, 1e-6);
  EXPECT_NEAR(cosine_rate(1, 100, 100, 4, 0.1f), 0.1f, 1e-6);
}

}  // namespace
}  // namespace offbook::train
