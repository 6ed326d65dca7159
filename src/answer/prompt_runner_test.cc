#include "src/answer/prompt_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/file_system_memory.h"
#include "src/base/random.h"

namespace offbook::answer {
namespace {

Tensor random_tensor(Random& random, Shape shape, double scale) {
  const Tensor t = Tensor::empty(Dtype::f32, shape);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] = static_cast<float>(scale * random.normal());
  }
  return t;
}

Tensor ones(int64_t n) {
  const Tensor t = Tensor::empty(Dtype::f32, {n});
  std::fill_n(t.data<float>(), n, 1.0f);
  return t;
}

model::ModelConfig small_config() {
  return {.vocab_size = 32,
          .hidden = 16,
          .layers = 2,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 8,
          .ffn = 32,
          .max_positions = 256,
          .has_tied_embeddings = true};
}

model::LlamaWeights random_weights(const model::ModelConfig& c) {
  Random random(3);
  model::LlamaWeights w;
  w.embedding = random_tensor(random, {c.vocab_size, c.hidden}, 1);
  w.lm_head = w.embedding;
  w.final_norm = ones(c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    model::LlamaLayerWeights layer;
    layer.attn_norm = ones(c.hidden);
    layer.ffn_norm = ones(c.hidden);
    layer.q = random_tensor(random, {c.q_width(), c.hidden}, 0.3);
    layer.k = random_tensor(random, {c.kv_width(), c.hidden}, 0.3);
    layer.v = random_tensor(random, {c.kv_width(), c.hidden}, 0.3);
    layer.o = random_tensor(random, {c.hidden, c.q_width()}, 0.3);
    layer.gate = random_tensor(random, {c.ffn, c.hidden}, 0.3);
    layer.up = random_tensor(random, {c.ffn, c.hidden}, 0.3);
    layer.down = random_tensor(random, {c.hidden, c.ffn}, 0.3);
    w.layers.push_back(std::move(layer));
  }
  return w;
}

class PromptRunnerTest : public testing::Test {
 protected:
  static backend::ExecutionContext context(backend::ThreadPool& pool, backend::Arena& arena) {
    return {.backend = backend::Backend::reference, .pool = &pool, .arena = &arena};
  }
  model::Decoder::Options options(int64_t cache_tokens) const {
    return {.compute = backend::Compute::f32, .cache = Dtype::f32, .cache_tokens = cache_tokens};
  }

  std::vector<float> logits_of(const Prompt& prompt, PromptRunner& runner, int32_t* reused) {
    PromptRun run = runner.run(prompt, nullptr, "");
    const float* row = run.logits.data<float>();
    std::vector<float> logits(row, row + 32);
    if (reused != nullptr) {
      *reused = run.reused_tokens;
    }
    runner.keep(std::move(run), prompt, "", {});
    return logits;
  }
  std::vector<float> fresh_logits(const Prompt& prompt) {
    model::Decoder decoder(pool_, llama_, options(512));
    PromptRunner runner(decoder);
    return logits_of(prompt, runner, nullptr);
  }

  backend::ThreadPool pool_{1};
  backend::Arena arena_;
  model::Llama llama_{context(pool_, arena_), small_config(), random_weights(small_config())};
  model::Decoder decoder_{pool_, llama_, options(512)};
  PromptRunner runner_{decoder_};
};

PromptPart tokens(std::vector<int32_t> ids) {
  return {.name = "tokens", .tokens = std::move(ids)};
}

TEST_F(PromptRunnerTest, ASharedBeginningIsNotComputedAgain) {
  const Prompt first{tokens({1, 2, 3, 4}), tokens({5, 6, 7})};
  const Prompt second{tokens({1, 2, 3, 4}), tokens({5, 9, 10})};
  int32_t reused = -1;
  logits_of(first, runner_, &reused);
  EXPECT_EQ(reused, 0);
  const auto with_reuse = logits_of(second, runner_, &reused);
  EXPECT_EQ(reused, 5);
  EXPECT_THAT(with_reuse, testing::Pointwise(testing::FloatNear(1e-4f), fresh_logits(second)));
}

TEST_F(PromptRunnerTest, TheSamePromptComputesOneToken) {
  const Prompt prompt{tokens({1, 2, 3, 4, 5})};
  int32_t reused = -1;
  const auto once = logits_of(prompt, runner_, &reused);
  const auto twice = logits_of(prompt, runner_, &reused);
  EXPECT_EQ(reused, 4);
  EXPECT_THAT(twice, testing::Pointwise(testing::FloatNear(1e-4f), once));
}

TEST_F(PromptRunnerTest, AnswersAreRememberedForTheNextTurn) {
  const Prompt prompt{tokens({1, 2, 3})};
  PromptRun run = runner_.run(prompt, nullptr, "");
  const std::vector<int32_t> answer{8, 9};
  decoder_.append({.sequence = &run.sequence, .tokens = std::span(answer).first(1)});
  runner_.keep(std::move(run), prompt, "", answer);  // the last token was never run
  int32_t reused = -1;
  logits_of({tokens({1, 2, 3, 8, 9, 4})}, runner_, &reused);
  EXPECT_EQ(reused, 4);
}

TEST_F(PromptRunnerTest, KvPrefixesAreSharedWholeOrNotAtAll) {
  Random random(8);
  const auto slots = [&](const char* key) {
    return PromptPart{.name = "slots", .kv = random_tensor(random, {2, 2, 3, 1, 8}, 1), .key = key};
  };
  const PromptPart a = slots("a"), b = slots("b");
  EXPECT_EQ(prompt_length({tokens({1}), a, tokens({2})}), 5);
  int32_t reused = -1;
  logits_of({tokens({1}), a, tokens({2, 3})}, runner_, &reused);
  const Prompt same{tokens({1}), a, tokens({4, 5})};
  EXPECT_THAT(logits_of(same, runner_, &reused),
              testing::Pointwise(testing::FloatNear(1e-4f), fresh_logits(same)));
  EXPECT_EQ(reused, 4);
  const Prompt other{tokens({1}), b, tokens({4, 5})};
  EXPECT_THAT(logits_of(other, runner_, &reused),
              testing::Pointwise(testing::FloatNear(1e-4f), fresh_logits(other)));
  EXPECT_EQ(reused, 1);
}

TEST_F(PromptRunnerTest, AnotherAdapterSharesNothing) {
  const Prompt prompt{tokens({1, 2, 3})};
  runner_.keep(runner_.run(prompt, nullptr, "x"), prompt, "x", {});
  EXPECT_EQ(runner_.run(prompt, nullptr, "y").reused_tokens, 0);
  EXPECT_EQ(runner_.run(prompt, nullptr, "x").reused_tokens, 2);
}

TEST_F(PromptRunnerTest, OldPromptsGiveWayWhenTheCacheIsFull) {
  model::Decoder small(pool_, llama_, options(256));
  PromptRunner runner(small);
  for (int32_t i = 0; i < 10; ++i) {
    const Prompt prompt{tokens(std::vector<int32_t>(100, i))};
    PromptRun run = runner.run(prompt, nullptr, "");
    EXPECT_EQ(run.computed_tokens, 100);
    runner.keep(std::move(run), prompt, "", {});
  }
}

TEST_F(PromptRunnerTest, APromptEndsWithTokens) {
  EXPECT_THROW(runner_.run({}, nullptr, ""), Error);
}

// Parts of a prompt with passages that are read apart.
Prompt apart_prompt(const std::vector<std::vector<int32_t>>& passages) {
  Prompt prompt{{.name = "system", .tokens = {1, 2, 3}}};
  for (const auto& tokens : passages) {
    prompt.push_back(
        {.name = "passage", .tokens = tokens, .reading = Reading::apart, .document = 4});
  }
  prompt.push_back({.name = "question", .tokens = {9, 8}});
  return prompt;
}

class PassageMemoryTest : public PromptRunnerTest {
 protected:
  store::Shelf shelf() { return {fs_, "/shelf", 1 << 20}; }
  struct Outcome {
    std::vector<float> logits;
    PassageMemory::Counts counts;
  };
  // In a process of its own.
  Outcome ask(const Prompt& prompt, store::Shelf* shelf) {
    model::Decoder decoder(pool_, llama_, options(512));
    PromptRunner runner(decoder);
    PassageMemory memory(llama_, kFingerprint, decoder.ctx(), shelf);
    runner.set_memory(&memory);
    Outcome out{.logits = logits_of(prompt, runner, nullptr)};
    memory.store_made();
    out.counts = memory.counts();
    return out;
  }
  const Fingerprint kFingerprint{std::string(32, 'a'), std::string(32, 'b')};
  MemoryFileSystem fs_;
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    all += a[i] * a[i];
  }
  return error / all;
}

TEST_F(PassageMemoryTest, OnePassageIsReadAsInPlace) {
  const Prompt apart = apart_prompt({{4, 5, 6, 7, 11, 12}});
  Prompt in_place = apart;
  in_place[1].reading = Reading::in_place;
  // What differs is 8 bits of keys and values, and bf16 of the beginning's.
  EXPECT_LT(distance(ask(apart, nullptr).logits, fresh_logits(in_place)), 1e-3);
}

TEST_F(PassageMemoryTest, AnswersDoNotDependOnWhatTheShelfHolds) {
  store::Shelf kept = shelf();
  const Prompt prompt = apart_prompt({{4, 5, 6, 7}, {10, 11, 12}});
  const Outcome without = ask(prompt, nullptr);
  const Outcome first = ask(prompt, &kept);
  const Outcome second = ask(prompt, &kept);
  EXPECT_EQ(without.logits, first.logits);
  EXPECT_EQ(first.logits, second.logits);
  EXPECT_EQ(first.counts.computed_tokens, 7);
  EXPECT_EQ(second.counts.found_tokens, 7);
  EXPECT_EQ(second.counts.computed, 0);
}

TEST_F(PassageMemoryTest, APassageServesOtherPrompts) {
  store::Shelf kept = shelf();
  ask(apart_prompt({{4, 5, 6, 7}, {10, 11, 12}}), &kept);
  const Prompt other = apart_prompt({{10, 11, 12}, {20, 21}, {4, 5, 6, 7}});
  const Outcome found = ask(other, &kept);
  EXPECT_EQ(found.counts.found, 2);
  EXPECT_EQ(found.counts.computed, 1);
  EXPECT_EQ(found.logits, ask(other, nullptr).logits);
}

TEST_F(PassageMemoryTest, AnotherBeginningIsAnotherPassage) {
  store::Shelf kept = shelf();
  Prompt prompt = apart_prompt({{4, 5, 6, 7}});
  ask(prompt, &kept);
  prompt[0].tokens = {1, 2, 30};
  EXPECT_EQ(ask(prompt, &kept).counts.computed, 1);
}

TEST_F(PassageMemoryTest, RunnerTakesOverWholePassagesOnly) {
  PassageMemory memory(llama_, kFingerprint, decoder_.ctx(), nullptr);
  runner_.set_memory(&memory);
  logits_of(apart_prompt({{4, 5, 6, 7}, {10, 11, 12}}), runner_, nullptr);
  int32_t reused = 0;
  const Prompt other = apart_prompt({{4, 5, 6, 7}, {10, 11, 13}});
  const auto logits = logits_of(other, runner_, &reused);
  EXPECT_EQ(reused, 7);
  EXPECT_LT(distance(logits, ask(other, nullptr).logits), 1e-6);
}

TEST_F(PassageMemoryTest, WithoutAMemoryIsRefused) {
  EXPECT_THROW(runner_.run(apart_prompt({{4, 5}}), nullptr, ""), Error);
}

}  // namespace
}  // namespace offbook::answer
