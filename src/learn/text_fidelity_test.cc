// Fidelity by a document's own text, with a tiny model: what is asked, how it is counted, and the
// ratios that are chosen by it.
#include "src/learn/text_fidelity.h"

#include "src/compress/beacon/weights.h"
#include "src/compress/registry.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/choose_ratios.h"
#include "src/learn/compress_stage.h"
#include "src/learn/learn_testing.h"

namespace offbook::learn {
namespace {

class TextFidelityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new store::TemporaryDirectory;
    write_tiny_model(directory_->path() / "model");
  }
  static void TearDownTestSuite() { delete directory_; }

  TextFidelityTest() : corpus_(store::Corpus::create(dir_.path() / "c", {})) {
    generation_ = corpus_.generations().begin({});
  }
  // Sentences that the rules make questions from, or none.
  int64_t put(const std::string& id, bool has_facts) {
    std::vector<std::string> lines;
    for (int i = 0; i < 12; ++i) {
      lines.push_back(
          has_facts
              ? fmt::format("The tower of {} Hill was built by Mary Stone{} in 18{:02}. It has "
                            "{} rooms for the keepers of the lamp.",
                            id, i, 10 + i, 20 + i)
              : "and so it went on and on, as it always had and always would");
    }
    const Document document = store::make_document(id, lines);
    std::vector<Passage> passages = store::make_passages(document);
    for (Passage& p : passages) {
      p.base_tokens = counter_.base_tokens(p.text);
    }
    return corpus_.documents().put(generation_, document, passages);
  }
  std::vector<TextSegment> texts_of(const std::vector<Segment>& segments, int64_t document) {
    std::vector<TextSegment> out;
    for (const Segment& s : segments) {
      out.push_back({&s, corpus_.documents().text(document, s.span)});
    }
    return out;
  }
  std::unique_ptr<compress::Compressor> beacon() {
    compress::CompressorWeights weights{.method = "beacon", .base = base_.fingerprint};
    compress::put_beacon(compress::new_beacon(ctx_, base_, {.ratios = {8, 16}}), weights);
    return compress::make_compressor(ctx_, base_, "beacon", &weights);
  }
  RatioResult choose(const compress::Compressor& compressor, const RatioOptions& options) {
    TextFidelityMeter meter(model_, decoder_, compressor, ctx_, options.probes);
    return choose_ratios(corpus_, generation_, meter, compressor, base_.fingerprint, counter_,
                         options);
  }

  static inline store::TemporaryDirectory* directory_ = nullptr;
  store::TemporaryDirectory dir_;
  store::Corpus corpus_;
  int64_t generation_ = 0;
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  backend::ExecutionContext ctx_{
      .backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  model::LanguageModel model_{real_file_system(), directory_->path() / "model", pool_,
                              model::LanguageModelOptions{.backend = backend::best_cpu_backend(),
                                                          .chat_template = "chatml"}};
  model::Decoder decoder_ = model_.make_decoder(pool_, 8192);
  compress::BaseModel base_{model_.llama(), model_.tokenizer(), model_.fingerprint(), {}};
  ingest::TokenizerCounter counter_{model_.tokenizer(), model_.tokenizer()};
};

TEST_F(TextFidelityTest, ProbesDependOnTheTextAlone) {
  const int64_t d = put("north", true);
  const std::vector<Segment> segments = segments_of(corpus_, d, counter_);
  const TextSegment first = texts_of(segments, d).front();
  const std::vector<int32_t> next = {5, 6, 7, 8};
  const ProbeOptions options{.questions = 5, .recalls = 2};
  const auto probes = make_probes(*first.segment, first.text, next, model_, options);
  const auto count = [&](Probe::Kind kind) {
    return std::count_if(probes.begin(), probes.end(),
                         [&](const Probe& p) { return p.kind == kind; });
  };
  EXPECT_EQ(count(Probe::Kind::question), 5);
  EXPECT_EQ(count(Probe::Kind::recall), 2);
  EXPECT_EQ(count(Probe::Kind::continuation), 1);
  for (const Probe& p : probes) {
    EXPECT_FALSE(p.cue.empty());
    EXPECT_FALSE(p.target.empty());
  }
  EXPECT_EQ(probes.back().cue, std::vector<int32_t>({5}));
  EXPECT_EQ(probes.back().target, std::vector<int32_t>({6, 7, 8}));
  const auto again = make_probes(*first.segment, first.text, next, model_, options);
  ASSERT_EQ(again.size(), probes.size());
  for (size_t i = 0; i < probes.size(); ++i) {
    EXPECT_EQ(again[i].cue, probes[i].cue);
    EXPECT_EQ(again[i].target, probes[i].target);
  }
}

// All of the text kept is the text itself: each loss is the raw one.
TEST_F(TextFidelityTest, WhatKeepsEverythingReadsLikeTheText) {
  const int64_t d = put("north", true);
  const std::vector<Segment> segments = segments_of(corpus_, d, counter_);
  const auto whole = compress::make_compressor(ctx_, base_, "truncate");
  TextFidelityMeter meter(model_, decoder_, *whole, ctx_, {});
  const double ratios[] = {1, 8};
  const TextFidelity f = meter.measure(texts_of(segments, d), ratios, {});
  EXPECT_GT(f.raw.questions.probes, 6);
  EXPECT_EQ(f.none.questions.tokens, f.raw.questions.tokens);
  EXPECT_NEAR(f.slots.at(1).questions.loss, f.raw.questions.loss, 1e-2 * f.raw.questions.loss);
  EXPECT_NE(f.slots.at(8).questions.loss, f.raw.questions.loss);
  EXPECT_GT(f.raw.recalls.tokens, 0);
  EXPECT_EQ(store::error_of([&] { static_cast<void>(f.score(4)); }).first,
            ErrorCode::InvalidArgument);
}

TEST(TextFidelityScore, IsTheShareOfWhatTheTextIsWorth) {
  TextFidelity f;
  f.none.questions = {.tokens = 10, .loss = 40};
  f.raw.questions = {.tokens = 10, .loss = 20};
  f.slots[8].questions = {.tokens = 10, .loss = 25};
  f.slots[32].questions = {.tokens = 10, .loss = 50};
  f.slots[2].questions = {.tokens = 10, .loss = 10};
  EXPECT_NEAR(f.score(8), 0.75, 1e-12);
  EXPECT_NEAR(f.score(32), -0.5, 1e-12) << "worse than nothing";
  EXPECT_EQ(f.score(2), 1) << "better than the text counts as the text";
  f.raw.questions.loss = 45;
  EXPECT_EQ(f.score(8), 0) << "the text is worth nothing";
  EXPECT_TRUE(keeps_within(1, 0));
  EXPECT_FALSE(keeps_within(0, 1));
}

TEST_F(TextFidelityTest, TheHighestRatioThatPassesIsTaken) {
  const int64_t north = put("north", true);
  const int64_t plain = put("plain", false);
  const auto compressor = beacon();
  EXPECT_EQ(trained_ratios(*compressor), std::vector<double>({8, 16}));
  const RatioOptions all{.ratios = trained_ratios(*compressor), .tolerance = 1e6};
  const RatioResult lenient = choose(*compressor, all);
  EXPECT_EQ(lenient.measured, 2);
  EXPECT_EQ(lenient.chosen.at(16), 1);
  EXPECT_EQ(lenient.raw, 1);
  EXPECT_EQ(lenient.without_probes, 1) << "a text no question can be made from stays raw";
  const auto stored = corpus_.generations().ratios(generation_);
  ASSERT_EQ(stored.size(), 2u);
  EXPECT_EQ(stored[0].document, north);
  EXPECT_EQ(stored[0].ratio, 16);
  EXPECT_EQ(stored[1].document, plain);
  EXPECT_EQ(stored[1].ratio, 0);
  EXPECT_EQ(choose(*compressor, all).measured, 0) << "measured before";
  RatioOptions strict = all;
  strict.tolerance = 0;
  const RatioResult none = choose(*compressor, strict);
  EXPECT_EQ(none.measured, 2);
  EXPECT_EQ(none.raw, 2) << "random slots keep nothing";
}

TEST_F(TextFidelityTest, AStoppedChoiceGoesOn) {
  put("north", true);
  put("south", true);
  const auto compressor = beacon();
  std::stop_source stop;
  RatioOptions options{.ratios = {8}, .tolerance = 1e6, .stop = stop.get_token()};
  options.on_progress = [&](int64_t, int64_t) { stop.request_stop(); };
  EXPECT_EQ(store::error_of([&] { choose(*compressor, options); }).first, ErrorCode::Cancelled);
  EXPECT_EQ(corpus_.jobs().counts(kStageRatio).done, 1);
  options.stop = {};
  const RatioResult rest = choose(*compressor, options);
  EXPECT_EQ(rest.measured, 1);
  EXPECT_EQ(rest.chosen.at(8), 2);
}

TEST(RatioReason, NamesWhatDecided) {
  EXPECT_THAT(reason_of(store::ChosenRatio{.ratio = 16, .score = 0.9, .probes = 20}, 5),
              testing::StartsWith("compressed 16×: slots keep 0.90"));
  EXPECT_THAT(reason_of(store::ChosenRatio{.score = 0.4, .probes = 20}, 5),
              testing::StartsWith("raw: slots keep 0.40"));
  EXPECT_THAT(reason_of(store::ChosenRatio{}, 5), testing::HasSubstr("no question could be made"));
}

}  // namespace
}  // namespace offbook::learn
