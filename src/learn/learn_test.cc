// Self-study, training and assessment with a tiny model: what is kept, resumed, accepted, refused.
#include "src/learn/adapter_files.h"
#include "src/learn/assess.h"
#include "src/learn/learn_testing.h"
#include "src/learn/question_set.h"
#include "src/learn/self_study.h"
#include "src/learn/train_stage.h"
#include "src/model/lora_init.h"
#include "src/store/dump.h"

namespace offbook::learn {
namespace {

const std::vector<std::string> kMinutes = {
    "The school was opened by Mary Smith in March 1998. It has 30 classes for the children.",
    "Professor Adams was born in Leeds. The committee has 12 members from all parties.",
    "There were 45 pupils in the class of Ms Jones. The Senedd is the parliament of Wales today."};
const std::vector<std::string> kTravel = {
    "The Fram was built by Colin Archer in Larvik. The ship had 39 men and 97 dogs on board.",
    "Captain Scott reached the pole in January 1912. Roald Amundsen arrived before the others."};

class LearnTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new store::TemporaryDirectory;
    write_tiny_model(directory_->path() / "model");
  }
  static void TearDownTestSuite() { delete directory_; }

  store::Corpus corpus(const std::string& name) {
    store::Corpus c = store::Corpus::create(dir_.path() / name, {});
    generation_ = c.generations().begin({});
    store::put_document(c, generation_, "minutes", kMinutes);
    store::put_document(c, generation_, "travel", kTravel);
    return c;
  }
  // Keeps what a random model says, so that the bookkeeping can be seen.
  static SelfStudyOptions lenient() { return {.min_with_passage = -100, .min_gain = -100}; }

  // Twenty questions of one document that are all answered alike.
  static std::vector<Example> examples() {
    std::vector<Example> out;
    for (int i = 0; i < 20; ++i) {
      Example e{.question = fmt::format("What is thing number {}?", i),
                .answers = {"the same"},
                .document_id = i % 2 == 0 ? "minutes" : "travel"};
      e.id = example_id(e);
      out.push_back(e);
    }
    return out;
  }
  PromptMaker prompts() const {
    return [this](const std::string& question) {
      return answer::Prompt{
          {.name = "question",
           .tokens = text::render_chat(model_.tokenizer(), model_.chat_format(),
                                       std::vector<text::ChatMessage>{{"user", question, {}}})
                         .ids}};
    };
  }
  backend::ExecutionContext ctx() {
    return {.backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  }
  static TrainStageOptions quick() {
    return {.lr = 0.05f, .epochs = 30, .max_tokens = 24'000, .micro_batch_tokens = 400};
  }

  static inline store::TemporaryDirectory* directory_ = nullptr;
  store::TemporaryDirectory dir_;
  int64_t generation_ = 0;
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  model::LanguageModel model_{real_file_system(), directory_->path() / "model", pool_,
                              model::LanguageModelOptions{.backend = backend::best_cpu_backend(),
                                                          .chat_template = "chatml"}};
};

TEST_F(LearnTest, SelfStudyKeepsQuestionsWithTheirPassage) {
  store::Corpus c = corpus("c");
  model::Decoder decoder = model_.make_decoder(pool_, 4096);
  const SelfStudyResult r = self_study(c, generation_, model_, decoder, lenient());
  EXPECT_EQ(r.passages, 5);
  EXPECT_EQ(r.passages_studied, 5);
  EXPECT_EQ(r.passages_covered, 5);
  EXPECT_EQ(r.documents_covered, 2);
  EXPECT_GE(r.kept, 5);
  int64_t rejected = 0;
  for (const auto& [reason, n] : r.rejected) {
    EXPECT_FALSE(reason.empty());
    rejected += n;
  }
  EXPECT_EQ(r.kept + rejected, r.tried);
  for (const Example& e : usable_examples(c, generation_, false)) {
    ASSERT_EQ(e.passages.size(), 1u);
    EXPECT_NE(c.documents().passage(e.passages[0]).text.find(e.answers.at(0)), std::string::npos);
  }
}

TEST_F(LearnTest, QuestionsThePassageDoesNotHelpWithAreRejected) {
  store::Corpus c = corpus("c");
  model::Decoder decoder = model_.make_decoder(pool_, 4096);
  SelfStudyOptions options = lenient();
  options.min_gain = 100;
  const SelfStudyResult r = self_study(c, generation_, model_, decoder, options);
  EXPECT_EQ(r.kept, 0);
  EXPECT_GE(r.rejected.at("the model can answer it without the passage"), 5);
}

TEST_F(LearnTest, StoppedSelfStudyGoesOnToTheSameResult) {
  store::Corpus whole = corpus("whole");
  model::Decoder decoder = model_.make_decoder(pool_, 4096);
  self_study(whole, generation_, model_, decoder, lenient());
  store::Corpus parts = corpus("parts");
  std::stop_source stop;
  SelfStudyOptions options = lenient();
  options.stop = stop.get_token();
  options.on_progress = [&](int64_t, int64_t) { stop.request_stop(); };
  EXPECT_EQ(
      store::error_of([&] { self_study(parts, generation_, model_, decoder, options); }).first,
      ErrorCode::Cancelled);
  EXPECT_EQ(parts.jobs().counts(kStageStudy).done, 4);
  self_study(parts, generation_, model_, decoder, lenient());
  const auto all = [&](store::Corpus& c) {
    std::vector<std::string> out;
    for (const std::string id : {"minutes", "travel"}) {
      for (const auto& r : c.examples().of_document(id)) {
        out.push_back(r.example.id + r.example.question + r.example.answers.at(0) + r.reason);
      }
    }
    return out;
  };
  EXPECT_EQ(all(parts), all(whole));
}

TEST_F(LearnTest, TheSplitIsDeterministicAndKeepsEveryDocumentOnBothSides) {
  const ExampleSplit a = split_examples(examples(), {});
  std::vector<Example> reversed = examples();
  std::reverse(reversed.begin(), reversed.end());
  const ExampleSplit b = split_examples(reversed, {});
  const auto ids = [](const std::vector<Example>& list) {
    std::vector<std::string> out;
    for (const Example& e : list) {
      out.push_back(e.id);
    }
    return out;
  };
  EXPECT_EQ(ids(a.held_out), ids(b.held_out));
  EXPECT_EQ(a.held_out.size(), 4u);
  EXPECT_EQ(a.training.size(), 16u);
  const SplitOptions for_fidelity{.min_held_out_of_large = 5};
  EXPECT_EQ(split_examples(examples(), for_fidelity).held_out.size(), 10u);
  EXPECT_EQ(split_examples(examples(), {.min_held_out_of_large = 6}).held_out.size(), 4u);
  EXPECT_NE(spread(a.held_out, 2)[0].document_id, spread(a.held_out, 2)[1].document_id);
}

TEST_F(LearnTest, AnAdapterIsTrainedStoredAcceptedAndGoesStale) {
  store::Corpus c = corpus("c");
  const ExampleSplit split = split_examples(examples(), {});
  const TrainOutcome trained = train_adapter(c, split, model_, prompts(), ctx(), quick());
  ASSERT_FALSE(trained.adapter.empty());
  EXPECT_LT(*trained.result.best_held_out, 0.5 * trained.first_held_out);
  EXPECT_TRUE(c.fs().list(c.directory() / "work").empty());
  EXPECT_TRUE(train_adapter(c, split, model_, prompts(), ctx(), quick()).is_reused);
  EXPECT_EQ(c.adapters().find(trained.adapter)->documents.size(), 2u);

  model::Decoder decoder = model_.make_decoder(pool_, 4096);
  const AdapterVerdict verdict = assess_adapter(c, generation_, trained.adapter, split.held_out,
                                                prompts(), model_, decoder, {});
  EXPECT_TRUE(verdict.is_accepted) << verdict.note;
  EXPECT_GT(verdict.comparison.after, 0.9) << verdict.note;
  EXPECT_EQ(usable_adapter(c, generation_, model_.fingerprint()), trained.adapter);
  EXPECT_EQ(usable_adapter(c, generation_, {"another", "another"}), std::nullopt);
  EXPECT_EQ(store::error_of([&] {
              load_adapter(c, trained.adapter, {"another", "x"});
            }).first,
            ErrorCode::InvalidArgument);

  c.generations().activate(generation_);
  c.remove_document("minutes");
  EXPECT_EQ(usable_adapter(c, generation_, model_.fingerprint()), std::nullopt);
}

TEST_F(LearnTest, StoppedTrainingEndsInTheSameAdapter) {
  store::Corpus whole = corpus("whole");
  const ExampleSplit split = split_examples(examples(), {});
  const std::string want = train_adapter(whole, split, model_, prompts(), ctx(), quick()).adapter;
  store::Corpus parts = corpus("parts");
  std::stop_source stop;
  TrainStageOptions options = quick();
  options.stop = stop.get_token();
  options.on_progress = [&](const TrainProgress& p) {
    p.step == 7 ? (void)stop.request_stop() : (void)0;
  };
  const auto [code, message] =
      store::error_of([&] { train_adapter(parts, split, model_, prompts(), ctx(), options); });
  EXPECT_EQ(code, ErrorCode::Cancelled);
  EXPECT_THAT(message, testing::HasSubstr("7 steps"));
  EXPECT_EQ(train_adapter(parts, split, model_, prompts(), ctx(), quick()).adapter, want);
}

// Slots stand in the middle of a prompt: text before them does not see them, text behind them does.
TEST_F(LearnTest, TrainingReadsSlotsWhereTheDecoderPutsThem) {
  std::mt19937 rng(3);
  const model::ModelConfig& config = model_.config();
  const Tensor kv = random_matrix({config.layers, 2, 5, config.kv_heads, config.head_dim}, 1, rng);
  const std::vector<int32_t> tokens = {40, 41, 42, 43, 50, 51, 52, 53, 54};
  const train::TrainingSequence with{
      .tokens = tokens, .first_target = 6, .kv = kv, .kv_at = 3, .kv_key = "k"};
  train::TrainingSequence without = with;
  without.kv = Tensor();

  model::Decoder decoder = model_.make_decoder(pool_, 512);
  model::Sequence sequence = decoder.make_sequence();
  const std::span<const int32_t> all(tokens);
  decoder.append({.sequence = &sequence, .tokens = all.first(3), .wants_logits = false});
  decoder.attach(sequence, kv);
  Tensor logits = decoder.append({.sequence = &sequence, .tokens = all.subspan(3, 3)});
  double want = 0;
  for (size_t at = 6; at < tokens.size(); ++at) {
    double sum = 0;
    for (int64_t i = 0; i < config.vocab_size; ++i) {
      sum += std::exp(logits.data<float>()[i]);
    }
    want += std::log(sum) - logits.data<float>()[tokens[at]];
    logits = decoder.append({.sequence = &sequence, .tokens = all.subspan(at, 1)});
  }
  model::LoraAdapter adapter = model::make_lora_adapter(config, {});
  const auto loss = [&](const std::vector<train::TrainingSequence>& sequences) {
    backend::ArenaScope scope(arena_);
    train::LoraTask task(ctx(), model_.llama(), adapter, sequences, sequences, {});
    return task.evaluate(train::Graph{ctx()})->mean();
  };
  EXPECT_NEAR(loss({with}), want / 3, 0.02);
  EXPECT_GT(std::abs(loss({without}) - want / 3), 0.1) << "the slots must matter";
  // Packed with others, in one pass, and under a tape.
  backend::ArenaScope scope(arena_);
  train::LoraTask task(ctx(), model_.llama(), adapter, {with, without, with}, {}, {});
  backend::ExecutionContext context = ctx();
  autograd::Tape tape(context);
  for (train::Parameter& p : task.parameters()) {
    tape.watch(p.value, p.grad);
  }
  const train::LossSum packed = task.micro_batch(train::Graph{context, &tape}, 0);
  tape.backward();
  EXPECT_NEAR(packed.mean(), (2 * loss({with}) + loss({without})) / 3, 1e-3);
}

TEST_F(LearnTest, TrainingReadsSoftTokensAsTheDecoderDoes) {
  std::mt19937 rng(4);
  const Tensor soft = random_matrix({3, model_.config().hidden}, 1, rng);
  const train::TrainingSequence with{
      .tokens = {40, 41, 0, 0, 0, 50, 51, 52}, .first_target = 7, .soft_tokens = {{2, soft, "k"}}};
  model::Decoder decoder = model_.make_decoder(pool_, 512);
  model::Sequence sequence = decoder.make_sequence();
  const std::span<const int32_t> all(with.tokens);
  decoder.append({.sequence = &sequence, .tokens = all.first(2), .wants_logits = false});
  decoder.append({.sequence = &sequence, .soft_tokens = soft, .wants_logits = false});
  const Tensor logits = decoder.append({.sequence = &sequence, .tokens = all.subspan(5, 2)});
  double sum = 0;
  for (int64_t i = 0; i < model_.config().vocab_size; ++i) {
    sum += std::exp(logits.data<float>()[i]);
  }
  const double want = std::log(sum) - logits.data<float>()[52];
  model::LoraAdapter adapter = model::make_lora_adapter(model_.config(), {});
  const auto loss = [&](const std::vector<train::TrainingSequence>& sequences) {
    backend::ArenaScope scope(arena_);
    train::LoraTask task(ctx(), model_.llama(), adapter, sequences, sequences, {});
    return task.evaluate(train::Graph{ctx()})->mean();
  };
  train::TrainingSequence without = with;
  without.soft_tokens.clear();
  EXPECT_NEAR(loss({with}), want, 0.02);
  EXPECT_GT(std::abs(loss({without}) - want), 0.05) << "the vectors must matter";
  EXPECT_NEAR(loss({without, with}), (loss({without}) + loss({with})) / 2, 1e-3);

  // A prompt's parts become such a sequence.
  const PromptMaker prompt_of = [&](const std::string&) {
    return answer::Prompt{{.name = "system", .tokens = {40, 41}},
                          {.name = "slots", .soft_tokens = soft, .key = "k"},
                          {.name = "question", .tokens = {50}}};
  };
  const SequenceSet set = make_sequences({{.question = "q", .answers = {"a"}}}, prompt_of, model_);
  ASSERT_EQ(set.sequences.size(), 1u);
  EXPECT_EQ(set.sequences[0].soft_tokens.at(0).at, 2);
  EXPECT_EQ(set.sequences[0].first_target, 6);
}

TEST(Assess, AnAdapterThatIsNotShownToBeAsGoodIsRefused) {
  std::vector<std::string> documents;
  std::vector<double> good, bad;
  for (int i = 0; i < 40; ++i) {
    documents.push_back(std::to_string(i % 8));
    good.push_back(i % 3 == 0 ? 0.0 : 1.0);
    bad.push_back(i % 3 == 1 ? 1.0 : 0.0);
  }
  EXPECT_TRUE(compare(documents, bad, good, 0.015).is_not_worse);
  EXPECT_TRUE(compare(documents, good, good, 0.015).is_not_worse);
  const Comparison worse = compare(documents, good, bad, 0.015);
  EXPECT_FALSE(worse.is_not_worse);
  EXPECT_THAT(worse.verdict(), testing::HasSubstr("not shown to be as good"));
  EXPECT_FALSE(compare({"a"}, {0}, {1}, 0.015).is_not_worse) << "one question says nothing";
  const std::vector<std::string> one(40, "a");
  EXPECT_TRUE(compare(one, bad, good, 0.015).is_not_worse);
}

TEST(Assess, FidelityNeedsTwentyQuestionsAndItsLowerBound) {
  const std::vector<double> raw(30, 0.8), close(30, 0.76), far(30, 0.3);
  const store::Fidelity kept = fidelity_of(3, "beacon", close, raw, 0.9);
  EXPECT_NEAR(kept.score, 0.95, 1e-9);
  EXPECT_TRUE(kept.use_slots);
  EXPECT_FALSE(fidelity_of(3, "beacon", far, raw, 0.9).use_slots);
  EXPECT_FALSE(
      fidelity_of(3, "beacon", std::vector<double>(19, 1.0), std::vector<double>(19, 1.0), 0.9)
          .use_slots);
  EXPECT_FALSE(fidelity_of(3, "beacon", raw, std::vector<double>(30, 0.0), 0.5).use_slots);
  std::vector<double> uneven(30, 0.8);
  std::fill_n(uneven.begin(), 4, 0.0);
  EXPECT_LT(fidelity_of(3, "beacon", uneven, raw, 0.9).lower, 0.87);
}

}  // namespace
}  // namespace offbook::learn
