#include "src/compress/beacon/training.h"

#include <unistd.h>

#include "src/compress/beacon/weights.h"
#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

using testing_models::TinyModel;

// Documents that each repeat a phrase of their own.
TrainingText phrases(const text::Tokenizer& tokenizer, int documents, uint64_t seed) {
  TrainingText text;
  Random random(seed);
  for (int d = 0; d < documents; ++d) {
    std::string phrase;
    for (int i = 0; i < 6; ++i) {
      phrase += static_cast<char>('a' + random.below(26));
    }
    std::string all;
    while (all.size() < 300) {
      all += phrase + ' ';
    }
    text.add("phrases", tokenizer.encode(all).ids);
  }
  return text;
}

class BeaconTrainingTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/offbook_beacon_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static BeaconTrainingOptions small() {
    return {.layouts = {{32}, {16, 24}},
            .ratio_shares = {0.5, 0.5},
            .continuation = 24,
            .recall = {.spans = 2, .length = 16, .cue = 4, .token = 3}};
  }
  BeaconWeights fresh(bool is_shaken = false) {
    BeaconWeights weights = new_beacon(tiny_.ctx, tiny_.base, {.ratios = {4, 8}});
    if (is_shaken) {  // b = 0 would keep gradients from a
      std::mt19937 rng(3);
      for (auto& layer : weights.lora.layers) {
        for (model::LoraPair& pair : layer) {
          pair.b = testing_models::random_tensor(pair.b.shape(), 0.1f, rng);
        }
      }
    }
    return weights;
  }
  // Runs a micro-batch backward; the parameters' gradients hold the result.
  train::LossSum gradients(BeaconTask& task, uint64_t seed) {
    backend::ArenaScope scope(tiny_.arena);
    autograd::Tape tape(tiny_.ctx);
    for (train::Parameter& p : task.parameters()) {
      tape.watch(p.value, p.grad);
    }
    const train::LossSum loss = task.micro_batch({tiny_.ctx, &tape}, seed);
    tape.backward();
    return loss;
  }
  double loss_at(BeaconTask& task, uint64_t seed) {
    backend::ArenaScope scope(tiny_.arena);
    return task.micro_batch({tiny_.ctx}, seed).sum;
  }

  TinyModel tiny_;
  TrainingText text_ = phrases(tiny_.tokenizer, 40, 1);
  TrainingText held_text_ = phrases(tiny_.tokenizer, 8, 2);
  std::filesystem::path dir_;
};

TEST_F(BeaconTrainingTest, GradientsReachEveryParameterAndAreRight) {
  for (const double behind_prior : {0.0, 1.0}) {
    for (const auto checkpointing : {model::Checkpointing::none, model::Checkpointing::per_layer}) {
      BeaconWeights weights = fresh(true);
      BeaconTrainingOptions options = small();
      options.layouts = {{16, 24}};
      options.behind_prior_share = behind_prior;
      options.checkpointing = checkpointing;
      BeaconTask task(tiny_.ctx, tiny_.llama, weights, text_, {}, options);
      constexpr uint64_t kSeed = 4;
      gradients(task, kSeed);
      int slot_rows = 0;
      for (train::Parameter& p : task.parameters()) {
        // The largest entry is checked by a central difference.
        int64_t at = 0;
        for (int64_t i = 0; i < p.grad.numel(); ++i) {
          at = std::abs(p.grad.data<float>()[i]) > std::abs(p.grad.data<float>()[at]) ? i : at;
        }
        const float gradient = p.grad.data<float>()[at];
        // Slots are what the last layer's k and v give: nothing behind them is read.
        const bool is_read = !p.name.starts_with("layers.1") ||
                             p.name.starts_with("layers.1.k_proj") ||
                             p.name.starts_with("layers.1.v_proj");
        EXPECT_EQ(gradient != 0, is_read) << p.name;
        slot_rows += p.name == "slot.vectors" ? 1 : 0;
        if (p.name.starts_with("layers.1")) {
          continue;  // the same code as layer 0
        }
        float* value = p.value.data<float>() + at;
        const float before = *value;
        constexpr float kStep = 2e-3f;
        *value = before + kStep;
        const double up = loss_at(task, kSeed);
        *value = before - kStep;
        const double down = loss_at(task, kSeed);
        *value = before;
        EXPECT_NEAR((up - down) / (2 * kStep), gradient, 0.03 * std::abs(gradient) + 0.05)
            << p.name;
      }
      EXPECT_EQ(slot_rows, 1);
    }
  }
}

TEST_F(BeaconTrainingTest, WindowsTogetherGiveWhatTheyGiveAlone) {
  BeaconTrainingOptions options = small();
  options.layouts = {{32}, {16, 24}, {16, 8, 12}};  // passes of one, two and three turns
  options.behind_prior_share = 0.6;
  BeaconWeights weights = fresh(true);
  BeaconTask alone(tiny_.ctx, tiny_.llama, weights, text_, {}, options);
  options.at_once = 8;
  BeaconTask together(tiny_.ctx, tiny_.llama, weights, text_, {}, options);
  ASSERT_EQ(together.at_once(), 8);
  const std::vector<uint64_t> seeds{4, 5, 6, 7, 8, 9, 10, 11};
  train::LossSum one_by_one;
  for (const uint64_t seed : seeds) {
    const train::LossSum part = gradients(alone, seed);  // added up
    one_by_one.sum += part.sum;
    one_by_one.count += part.count;
  }
  backend::ArenaScope scope(tiny_.arena);
  autograd::Tape tape(tiny_.ctx);
  for (train::Parameter& p : together.parameters()) {
    tape.watch(p.value, p.grad);
  }
  const train::LossSum all = together.micro_batches({tiny_.ctx, &tape}, seeds);
  tape.backward();
  EXPECT_EQ(all.count, one_by_one.count);
  EXPECT_NEAR(all.sum, one_by_one.sum, 1e-5 * one_by_one.sum);
  for (size_t i = 0; i < together.parameters().size(); ++i) {
    const Tensor& want = alone.parameters()[i].grad;
    const Tensor& got = together.parameters()[i].grad;
    double error = 0;
    double norm = 0;
    for (int64_t j = 0; j < want.numel(); ++j) {
      const double d = got.data<float>()[j] - want.data<float>()[j];
      error += d * d;
      norm += static_cast<double>(want.data<float>()[j]) * want.data<float>()[j];
    }
    EXPECT_LE(error, 1e-8 * norm + 1e-12) << together.parameters()[i].name;
  }
}

TEST_F(BeaconTrainingTest, LossFallsHeldOutTooAndTheBaseStays) {
  BeaconWeights weights = fresh();
  const auto held = held_text_.held_out(8, 64);
  BeaconTask task(tiny_.ctx, tiny_.llama, weights, text_, held, small());
  const BeaconMeasureOptions measure{.context = 32,
                                     .continuation = 24,
                                     .recall = {.spans = 1, .length = 16, .cue = 4, .token = 3}};
  const auto before = measure_beacon(tiny_.ctx, tiny_.llama, weights, held, measure);
  double first = 0;
  const auto result = train::train(tiny_.ctx, real_file_system(), task,
                                   {.steps = 80, .lr = 0.02f, .evaluate_every = 40},
                                   [&](const train::StepReport& r) {
                                     first += r.step <= 10 ? r.loss / 10 : 0;
                                     return true;
                                   });
  EXPECT_EQ(result.end, train::TrainEnd::finished);
  EXPECT_LT(result.last_loss, 0.8 * first);
  const auto after = measure_beacon(tiny_.ctx, tiny_.llama, weights, held, measure);
  ASSERT_EQ(after.size(), 2u);
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].windows, 8);
    EXPECT_LT(after[i].continuation.right.mean(), before[i].continuation.right.mean());
    EXPECT_NEAR(after[i].continuation.none.mean(), before[i].continuation.none.mean(), 1e-9);
    EXPECT_NEAR(after[i].recall.raw.mean(), before[i].recall.raw.mean(), 1e-9);
  }
  const nlohmann::json json = to_json(after);
  EXPECT_TRUE(json.at("8").at("recall").contains("document_share"));
}

TEST_F(BeaconTrainingTest, StoppedAndResumedGivesTheSameBits) {
  const auto run = [&](BeaconWeights& weights, const std::filesystem::path& checkpoint,
                       int64_t stop) {
    BeaconTask task(tiny_.ctx, tiny_.llama, weights, text_, held_text_.held_out(4, 64), small());
    return train::train(tiny_.ctx, real_file_system(), task,
                        {.steps = 12,
                         .lr = 0.01f,
                         .seed = 9,
                         .evaluate_every = 4,
                         .checkpoint = checkpoint,
                         .recipe = "r"},
                        [&](const train::StepReport& r) { return r.step < stop; });
  };
  BeaconWeights undisturbed = fresh();
  run(undisturbed, {}, 100);
  BeaconWeights stopped = fresh();
  EXPECT_EQ(run(stopped, dir_ / "state", 5).end, train::TrainEnd::cancelled);
  BeaconWeights resumed = fresh();
  EXPECT_EQ(run(resumed, dir_ / "state", 100).steps, 12);
  CompressorWeights a;
  CompressorWeights b;
  put_beacon(undisturbed, a);
  put_beacon(resumed, b);
  EXPECT_EQ(hash_of(a), hash_of(b));
  const auto& pair_a = undisturbed.lora.pair(0, model::LoraTarget::q);
  const auto& pair_b = resumed.lora.pair(0, model::LoraTarget::q);
  EXPECT_TRUE(std::equal(pair_a.a.data<float>(), pair_a.a.data<float>() + pair_a.a.numel(),
                         pair_b.a.data<float>()));
}

TEST_F(BeaconTrainingTest, ContradictingOptionsAreRefused) {
  BeaconWeights weights = fresh();
  const auto refused = [&](const std::function<void(BeaconTrainingOptions&)>& change) {
    BeaconTrainingOptions options = small();
    change(options);
    EXPECT_THROW(BeaconTask(tiny_.ctx, tiny_.llama, weights, text_, {}, options), Error);
  };
  refused([](auto& o) { o.layouts.clear(); });
  refused([](auto& o) { o.layouts = {{0}}; });
  refused([](auto& o) { o.layouts = {{5000}}; });
  refused([](auto& o) { o.ratio_shares = {1}; });
  refused([](auto& o) { o.continuation = 1; });
  refused([](auto& o) { o.recall.cue = 15; });
  refused([](auto& o) { o.recall.token = 272; });
  refused([](auto& o) { o.recall.length = 33; });
  BeaconTrainingOptions plain = small();
  plain.recall.spans = 0;
  EXPECT_NO_THROW(BeaconTask(tiny_.ctx, tiny_.llama, weights, text_, {}, plain));
  EXPECT_THROW(
      BeaconTask(tiny_.ctx, tiny_.llama, weights, text_, held_text_.held_out(2, 20), small()),
      Error);
}

}  // namespace
}  // namespace offbook::compress
