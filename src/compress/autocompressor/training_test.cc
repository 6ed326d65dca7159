#include "src/compress/autocompressor/training.h"

#include <numeric>

#include <unistd.h>

#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

using testing_models::TinyModel;

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

class AutoTrainingTest : public testing::Test {
 protected:
  static AutoTrainingOptions small() {
    return {.sequence = 64, .slices = 2, .segments_per_slice = 2, .longest_segment = 24};
  }
  AutoWeights fresh(Carry carry = Carry::accumulate, bool is_shaken = false) {
    AutoWeights weights =
        new_autocompressor(tiny_.ctx, tiny_.base,
                           {.lora = {.rank = 4, .alpha = 8}, .summary_tokens = 4, .carry = carry});
    if (is_shaken) {
      std::mt19937 rng(3);
      for (auto& layer : weights.lora.layers) {
        for (model::LoraPair& pair : layer) {
          if (pair.b.defined()) {
            pair.b = testing_models::random_tensor(pair.b.shape(), 0.1f, rng);
          }
        }
      }
    }
    return weights;
  }

  TinyModel tiny_;
  TrainingText text_ = phrases(tiny_.tokenizer, 40, 1);
  TrainingText held_text_ = phrases(tiny_.tokenizer, 8, 2);
};

TEST_F(AutoTrainingTest, GradientsAreRightWithinASlice) {
  for (const Carry carry : {Carry::accumulate, Carry::replace}) {
    for (const auto checkpointing : {model::Checkpointing::none, model::Checkpointing::per_layer}) {
      AutoWeights weights = fresh(carry, true);
      AutoTrainingOptions options = small();
      options.slices = 1;  // over slices gradients stop, differences would not
      options.segments_per_slice = 3;
      options.longest_segment = 40;
      options.checkpointing = checkpointing;
      AutoTask task(tiny_.ctx, tiny_.llama, weights, text_, {}, options);
      constexpr uint64_t kSeed = 4;
      {
        backend::ArenaScope scope(tiny_.arena);
        autograd::Tape tape(tiny_.ctx);
        for (train::Parameter& p : task.parameters()) {
          tape.watch(p.value, p.grad);
        }
        task.micro_batch({tiny_.ctx, &tape}, kSeed);
        tape.backward();
      }
      const auto loss = [&] {
        backend::ArenaScope scope(tiny_.arena);
        return task.micro_batch({tiny_.ctx}, kSeed).sum;
      };
      for (train::Parameter& p : task.parameters()) {
        int64_t at = 0;
        for (int64_t i = 0; i < p.grad.numel(); ++i) {
          at = std::abs(p.grad.data<float>()[i]) > std::abs(p.grad.data<float>()[at]) ? i : at;
        }
        const float gradient = p.grad.data<float>()[at];
        EXPECT_NE(gradient, 0.0f) << p.name;
        float* value = p.value.data<float>() + at;
        const float before = *value;
        constexpr float kStep = 2e-3f;
        *value = before + kStep;
        const double up = loss();
        *value = before - kStep;
        const double down = loss();
        *value = before;
        EXPECT_NEAR((up - down) / (2 * kStep), gradient, 0.03 * std::abs(gradient) + 0.1) << p.name;
      }
    }
  }
}

TEST_F(AutoTrainingTest, TextsTogetherGiveWhatTheyGiveAlone) {
  for (const Carry carry : {Carry::accumulate, Carry::replace}) {
    AutoWeights weights = fresh(carry, true);
    AutoTask task(tiny_.ctx, tiny_.llama, weights, text_, {}, small());
    const std::vector<uint64_t> seeds{3, 8, 5};
    std::vector<std::vector<float>> gradients;
    std::vector<double> sums;
    for (const size_t at_once : {size_t{1}, seeds.size()}) {
      for (train::Parameter& p : task.parameters()) {
        std::fill_n(p.grad.data<float>(), p.grad.numel(), 0.0f);
      }
      double sum = 0;
      for (size_t i = 0; i < seeds.size(); i += at_once) {
        backend::ArenaScope scope(tiny_.arena);
        autograd::Tape tape(tiny_.ctx);
        for (train::Parameter& p : task.parameters()) {
          tape.watch(p.value, p.grad);
        }
        sum += task.micro_batches({tiny_.ctx, &tape}, std::span(seeds).subspan(i, at_once)).sum;
        tape.backward();
      }
      sums.push_back(sum);
      gradients.emplace_back();
      for (const train::Parameter& p : task.parameters()) {
        gradients.back().insert(gradients.back().end(), p.grad.data<float>(),
                                p.grad.data<float>() + p.grad.numel());
      }
    }
    EXPECT_NEAR(sums[0], sums[1], 1e-4 * sums[0]);
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      ASSERT_NEAR(gradients[0][i], gradients[1][i], 1e-3 + 1e-3 * std::abs(gradients[0][i])) << i;
    }
  }
}

TEST_F(AutoTrainingTest, GradientsStopBetweenSlices) {
  // Two slices of one segment: the vectors of the first are only read in the second, where they are
  // detached.
  AutoWeights weights = fresh(Carry::accumulate, true);
  AutoTrainingOptions options = small();
  options.segments_per_slice = 1;
  options.longest_segment = 32;
  AutoTask task(tiny_.ctx, tiny_.llama, weights, text_, {}, options);
  backend::ArenaScope scope(tiny_.arena);
  autograd::Tape tape(tiny_.ctx);
  for (train::Parameter& p : task.parameters()) {
    tape.watch(p.value, p.grad);
  }
  task.micro_batch({tiny_.ctx, &tape}, 4);
  tape.backward();
  const auto learned = task.parameters().end() - 5;  // behind the adapter's
  EXPECT_EQ(learned->name, "summary.vectors");
  for (auto p = learned; p != task.parameters().end(); ++p) {
    EXPECT_TRUE(std::all_of(p->grad.data<float>(), p->grad.data<float>() + p->grad.numel(),
                            [](float x) { return x == 0; }))
        << p->name;
  }
}

TEST_F(AutoTrainingTest, LossFallsAndIsMeasured) {
  AutoWeights weights = fresh();
  const auto held = held_text_.held_out(8, 64);
  AutoTask task(tiny_.ctx, tiny_.llama, weights, text_, held, small());
  double first = 0;
  const auto result = train::train(tiny_.ctx, real_file_system(), task,
                                   {.steps = 60, .lr = 0.02f, .evaluate_every = 30},
                                   [&](const train::StepReport& r) {
                                     first += r.step <= 10 ? r.loss / 10 : 0;
                                     return true;
                                   });
  EXPECT_LT(result.last_loss, 0.8 * first);
  const MemoryFigures figures = measure_autocompressor(
      tiny_.ctx, tiny_.llama, weights, held, {.ratio = 5, .context = 40, .continuation = 24});
  EXPECT_EQ(figures.windows, 8);
  EXPECT_TRUE(std::isfinite(figures.continuation.document_share()));
}

TEST_F(AutoTrainingTest, StoppedAndResumedGivesTheSameBits) {
  std::string pattern = testing::TempDir() + "/offbook_auto_XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const std::filesystem::path directory = pattern;
  const auto run = [&](AutoWeights& weights, const std::filesystem::path& checkpoint,
                       int64_t stop) {
    AutoTask task(tiny_.ctx, tiny_.llama, weights, text_, held_text_.held_out(4, 64), small());
    return train::train(tiny_.ctx, real_file_system(), task,
                        {.steps = 10,
                         .lr = 0.01f,
                         .seed = 9,
                         .evaluate_every = 4,
                         .checkpoint = checkpoint,
                         .recipe = "r"},
                        [&](const train::StepReport& r) { return r.step < stop; });
  };
  AutoWeights undisturbed = fresh();
  run(undisturbed, {}, 100);
  AutoWeights stopped = fresh();
  EXPECT_EQ(run(stopped, directory / "state", 5).end, train::TrainEnd::cancelled);
  AutoWeights resumed = fresh();
  EXPECT_EQ(run(resumed, directory / "state", 100).steps, 10);
  const int64_t n = resumed.summary.numel();
  EXPECT_TRUE(std::equal(resumed.summary.data<float>(), resumed.summary.data<float>() + n,
                         undisturbed.summary.data<float>()));
  const Tensor& a = resumed.lora.pair(1, model::LoraTarget::v).b;
  EXPECT_TRUE(std::equal(a.data<float>(), a.data<float>() + a.numel(),
                         undisturbed.lora.pair(1, model::LoraTarget::v).b.data<float>()));
  std::filesystem::remove_all(directory);
}

TEST_F(AutoTrainingTest, ContradictingOptionsAreRefused) {
  AutoWeights weights = fresh();
  const auto refused = [&](const std::function<void(AutoTrainingOptions&)>& change) {
    AutoTrainingOptions options = small();
    change(options);
    EXPECT_THROW(AutoTask(tiny_.ctx, tiny_.llama, weights, text_, {}, options), Error);
  };
  refused([](auto& o) { o.slices = o.segments_per_slice = 1; });
  refused([](auto& o) { o.slices = 3; });
  refused([](auto& o) { o.longest_segment = 10; });
  refused([](auto& o) { o.sequence = 1 << 20; });
  EXPECT_THROW(
      AutoTask(tiny_.ctx, tiny_.llama, weights, text_, held_text_.held_out(2, 20), small()), Error);
}

TEST(RandomSegments, AddUpWithinTheirBounds) {
  Random random(1);
  for (int i = 0; i < 500; ++i) {
    for (const auto& [tokens, count, longest] :
         {std::tuple{3072, 2, 2048}, {3072, 2, 4096}, {64, 3, 40}, {6, 3, 6}, {7, 1, 7}}) {
      const auto lengths = random_segments(random, tokens, count, longest);
      EXPECT_EQ(static_cast<int>(lengths.size()), count);
      EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), 0), tokens);
      EXPECT_GE(*std::min_element(lengths.begin(), lengths.end()), 2);
      EXPECT_LE(*std::max_element(lengths.begin(), lengths.end()),
                std::max(longest, tokens / count + 1));
    }
  }
  EXPECT_THROW(random_segments(random, 3, 2, 2), Error);
}

}  // namespace
}  // namespace offbook::compress
