#include "src/compress/icae/icae.h"

#include "src/compress/icae/training.h"
#include "src/compress/test_model.h"
#include "src/compress/text_losses.h"

namespace offbook::compress {
namespace {

using testing_models::TinyModel;

TrainingSet phrases(const text::Tokenizer& tokenizer, int documents) {
  TrainingSet set;
  Random random(1);
  for (int d = 0; d < documents; ++d) {
    std::string all;
    while (all.size() < 200) {
      all += static_cast<char>('a' + random.below(6));
    }
    TrainingDocument document{.group = "g", .tokens = tokenizer.encode(all).ids};
    document.examples.push_back(
        {.evidence_begin = 20, .evidence_end = 24, .question = {30, 31}, .answer = {32, 2}});
    set.documents.push_back(std::move(document));
  }
  return set;
}

TEST(Icae, SpansAreBalancedAndOfWholeSlots) {
  for (const int32_t tokens : {1, 7, 64, 65, 100, 513}) {
    int32_t begin = 0;
    int32_t slots = 0;
    const auto ends = whole_slot_spans(tokens, 32, 4);
    for (const int32_t end : ends) {
      EXPECT_GT(end, begin);
      EXPECT_LE(end - begin, 32);
      slots += (end - begin + 3) / 4;
      begin = end;
    }
    EXPECT_EQ(begin, tokens);
    EXPECT_EQ(slots, (tokens + 3) / 4);
    EXPECT_EQ(ends.size(), static_cast<size_t>((tokens + 31) / 32));
  }
  EXPECT_TRUE(whole_slot_spans(0, 32, 4).empty());
}

TEST(Icae, TheDecoderIsTheBase) {
  TinyModel tiny;
  IcaeWeights icae = new_icae(tiny.ctx, tiny.base, {.memory_tokens = 8});
  std::mt19937 rng(2);
  for (auto& layer : icae.encoder.lora.layers) {
    for (model::LoraPair& pair : layer) {
      if (pair.b.defined()) {
        pair.b = testing_models::random_tensor(pair.b.shape(), 0.3f, rng);
      }
    }
  }
  const std::vector<int32_t> text{40, 41, 42, 43, 44, 45};
  const IcaeReading reading{{}, IcaeTask::none, text, 1};
  const double loss =
      read_icae({tiny.ctx}, tiny.llama, icae, std::span(&reading, 1), {}).front().sum;
  AutoWeights none{.lora = {}, .summary = icae.encoder.summary};
  const AutoSegment segment{.tokens = text};
  const Tensor hidden =
      run_segments({tiny.ctx}, tiny.llama, none, std::span(&segment, 1), {}).front().text;
  const TargetText scored{.tokens = text};
  EXPECT_EQ(loss,
            score_texts({tiny.ctx}, hidden, tiny.llama.weights().lm_head, std::span(&scored, 1))
                .front()
                .sum);
}

TEST(Icae, GradientsReachEveryParameterAndTrainingHelps) {
  TinyModel tiny;
  const TrainingSet set = phrases(tiny.tokenizer, 12);
  IcaeWeights icae = new_icae(
      tiny.ctx, tiny.base,
      {.lora = {.rank = 8, .alpha = 16, .targets = {model::LoraTarget::q, model::LoraTarget::v}},
       .memory_tokens = 8});
  IcaeTrainingTask task(tiny.ctx, tiny.llama, icae, set,
                        {.windows = 6,
                         .ratio = 4,
                         .shortest = 8,
                         .continuation = 16,
                         .instruct_share = 0.2,
                         .end_token = 2});
  const auto loss_of = [&] {
    double sum = 0;
    for (uint64_t seed = 100; seed < 104; ++seed) {
      backend::ArenaScope scope(tiny.arena);
      sum += task.micro_batch({tiny.ctx}, seed).mean() / 4;
    }
    return sum;
  };
  const double before = loss_of();
  for (int64_t step = 1; step <= 40; ++step) {
    backend::ArenaScope scope(tiny.arena);
    autograd::Tape tape(tiny.ctx);
    for (train::Parameter& p : task.parameters()) {
      tape.watch(p.value, p.grad);
    }
    const train::LossSum loss = task.micro_batch({tiny.ctx, &tape}, static_cast<uint64_t>(step));
    tape.backward();
    if (step == 2) {  // the first step has moved b from zero
      for (const train::Parameter& p : task.parameters()) {
        EXPECT_TRUE(std::any_of(p.grad.data<float>(), p.grad.data<float>() + p.grad.numel(),
                                [](float v) { return v != 0; }))
            << p.name;
      }
    }
    train::adamw_step(tiny.ctx, task.parameters(), {}, 2e-2f, step,
                      static_cast<float>(1 / loss.count));
  }
  EXPECT_LT(loss_of(), before - 0.2);
}

}  // namespace
}  // namespace offbook::compress
