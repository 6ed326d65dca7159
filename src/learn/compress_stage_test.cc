// The stage `compress` with a tiny model: what is made, shared, resumed, left out for its bytes.
#include "src/learn/compress_stage.h"

#include "src/compress/beacon/weights.h"
#include "src/compress/registry.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/learn/learn_testing.h"
#include "src/store/check.h"

namespace offbook::learn {
namespace {

class CompressStageTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new store::TemporaryDirectory;
    write_tiny_model(directory_->path() / "model");
  }
  static void TearDownTestSuite() { delete directory_; }

  std::unique_ptr<compress::Compressor> beacon() {
    compress::CompressorWeights weights{.method = "beacon", .base = base_.fingerprint};
    compress::put_beacon(compress::new_beacon(ctx_, base_, {}), weights);
    return compress::make_compressor(ctx_, base_, "beacon", &weights);
  }
  // Documents of 40 passages each: several segments where they are kept short.
  store::Corpus corpus(const std::string& name, const std::vector<std::string>& ids) {
    store::Corpus c = store::Corpus::create(dir_.path() / name, {});
    generation_ = c.generations().begin({});
    for (const std::string& id : ids) {
      std::vector<std::string> lines;
      for (int i = 0; i < 40; ++i) {
        lines.push_back(
            fmt::format("In {} the member number {} spoke of roads and schools, and "
                        "of what they cost the people of the town.",
                        id, i * i));
      }
      const Document document = store::make_document(id, lines);
      std::vector<Passage> passages = store::make_passages(document);
      for (Passage& p : passages) {
        p.base_tokens = counter_.base_tokens(p.text);
      }
      c.documents().put(generation_, document, passages);
    }
    return c;
  }
  CompressResult run(store::Corpus& c, const compress::Compressor& compressor,
                     const CompressOptions& options) {
    return compress_documents(c, generation_, compressor, base_, counter_, ctx_, options);
  }

  static inline store::TemporaryDirectory* directory_ = nullptr;
  store::TemporaryDirectory dir_;
  int64_t generation_ = 0;
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  backend::ExecutionContext ctx_{
      .backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  model::LanguageModel model_{real_file_system(), directory_->path() / "model", pool_,
                              model::LanguageModelOptions{.backend = backend::best_cpu_backend(),
                                                          .chat_template = "chatml"}};
  compress::BaseModel base_{model_.llama(), model_.tokenizer(), model_.fingerprint(), {}};
  ingest::TokenizerCounter counter_{model_.tokenizer(), model_.tokenizer()};
};

TEST_F(CompressStageTest, EverySegmentGetsItsSlotsOnce) {
  store::Corpus c = corpus("c", {"a", "b"});
  const auto compressor = beacon();
  const CompressResult made = run(c, *compressor, {.ratio = 8});
  EXPECT_EQ(made.documents, 2);
  EXPECT_EQ(made.made, made.segments);
  EXPECT_EQ(made.left_out, 0);
  EXPECT_GE(made.tokens_after * 8, made.tokens_before);
  EXPECT_GT(made.bytes, 0u);
  const auto recipe = recipe_of(*compressor, base_, 8);
  const int64_t a = c.documents().find(generation_, "a")->number;
  const auto context = c.contexts().get(a, 0, recipe);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->kind, ContextKind::kv_prefix);
  const Segment segment = c.contexts().segments(a).at(0);
  EXPECT_EQ(context->slot_spans.front().begin, segment.span.begin);
  EXPECT_EQ(context->slot_spans.back().end, segment.token_spans.back().end);
  EXPECT_FALSE(compressor->attach(std::vector<compress::Attachment>{{&*context, {}}}, {}).empty());

  EXPECT_EQ(c.contexts().tokens_without(generation_, recipe), 0);
  EXPECT_EQ(c.contexts().tokens_without(generation_, recipe_of(*compressor, base_, 32)),
            made.tokens_before);
  EXPECT_GT(measure_compression(*compressor, counter_, ctx_, 8), 0);

  const CompressResult again = run(c, *compressor, {.ratio = 8});
  EXPECT_EQ(again.made, 0);
  EXPECT_EQ(again.reused, made.segments);
  EXPECT_TRUE(store::check(c, false).is_sound());
  EXPECT_GT(run(c, *compressor, {.ratio = 16}).made, 0) << "another ratio, other contexts";
}

TEST_F(CompressStageTest, AStoppedRunGoesOnToTheSameFiles) {
  const auto compressor = beacon();
  store::Corpus whole = corpus("whole", {"a", "b", "c"});
  run(whole, *compressor, {});
  store::Corpus parts = corpus("parts", {"a", "b", "c"});
  std::stop_source stop;
  CompressOptions options{.segments_at_once = 1, .stop = stop.get_token()};
  options.on_progress = [&](int64_t, int64_t) { stop.request_stop(); };
  EXPECT_EQ(store::error_of([&] { run(parts, *compressor, options); }).first, ErrorCode::Cancelled);
  EXPECT_EQ(parts.jobs().counts(store::kStageCompress).done, 1);
  const CompressResult rest = run(parts, *compressor, {});
  EXPECT_EQ(rest.reused, 1);
  EXPECT_EQ(parts.artefacts().list().ids, whole.artefacts().list().ids);
}

TEST_F(CompressStageTest, ThreadsChangeNothingButTheTime) {
  const auto compressor = beacon();
  store::Corpus alone = corpus("alone", {"a", "b", "c", "d"});
  run(alone, *compressor, {});
  store::Corpus several = corpus("several", {"a", "b", "c", "d"});
  const CompressResult made = run(several, *compressor, {.segments_at_once = 3, .threads = 3});
  EXPECT_EQ(made.made, made.segments);
  EXPECT_EQ(several.artefacts().list().ids, alone.artefacts().list().ids);
  EXPECT_EQ(several.jobs().counts(store::kStageCompress).done, made.segments);
  EXPECT_EQ(several.contexts().segments(2).size(), alone.contexts().segments(2).size());
  EXPECT_TRUE(store::check(several, false).is_sound());
}

TEST_F(CompressStageTest, WhatIsOnItsWayIsKeptWhenARunIsStopped) {
  const auto compressor = beacon();
  store::Corpus c = corpus("c", {"a", "b", "c", "d"});
  std::stop_source stop;
  CompressOptions options{.segments_at_once = 2, .threads = 2, .stop = stop.get_token()};
  int reports = 0;
  options.on_progress = [&](int64_t, int64_t) { ++reports; };
  stop.request_stop();
  EXPECT_EQ(store::error_of([&] { run(c, *compressor, options); }).first, ErrorCode::Cancelled);
  EXPECT_EQ(reports, 0);
  options.stop = {};
  const CompressResult rest = run(c, *compressor, options);
  EXPECT_EQ(rest.made, rest.segments);
  EXPECT_EQ(reports, rest.made);
}

TEST_F(CompressStageTest, EachDocumentMayHaveARatioOfItsOwn) {
  const auto compressor = beacon();
  store::Corpus c = corpus("c", {"a", "b", "c"});
  CompressOptions options;
  options.ratio_of = [](int64_t document) {
    return document == 1 ? 8.0 : document == 2 ? 32.0 : 0;
  };
  const CompressResult made = run(c, *compressor, options);
  EXPECT_EQ(made.documents, 3);
  EXPECT_TRUE(c.contexts().segments(3).empty()) << "a document that stays raw is not cut";
  EXPECT_TRUE(c.contexts().get(1, 0, recipe_of(*compressor, base_, 8)));
  EXPECT_FALSE(c.contexts().get(1, 0, recipe_of(*compressor, base_, 32)));
  EXPECT_TRUE(c.contexts().get(2, 0, recipe_of(*compressor, base_, 32)));
  EXPECT_EQ(run(c, *compressor, options).made, 0);
}

TEST_F(CompressStageTest, WhatExceedsTheBytesIsLeftOutAndMadeWhenThereIsRoom) {
  store::Corpus c = corpus("c", {"a", "b", "c"});
  const auto compressor = beacon();
  const CompressResult all = run(c, *compressor, {});
  store::Corpus tight = corpus("tight", {"a", "b", "c"});
  const CompressResult some =
      run(tight, *compressor, {.max_bytes = all.bytes / 2, .segments_at_once = 1});
  EXPECT_GT(some.left_out, 0);
  EXPECT_GT(some.made, 0);
  EXPECT_LE(some.bytes, all.bytes / 2);
  EXPECT_EQ(run(tight, *compressor, {}).made, some.left_out);
  // Contexts of another ratio give way to the new ones.
  const CompressResult other = run(tight, *compressor, {.ratio = 32, .max_bytes = all.bytes});
  EXPECT_EQ(other.left_out, 0);
  EXPECT_LE(other.bytes, all.bytes);
}

TEST_F(CompressStageTest, BytesAreForetoldWithinATenth) {
  store::Corpus c = corpus("c", {"a", "b"});
  const auto compressor = beacon();
  const CompressResult made = run(c, *compressor, {.ratio = 8});
  const uint64_t foretold =
      2 * stored_bytes(*compressor, model_.config(), made.tokens_before / 2, {.ratio = 8});
  EXPECT_NEAR(static_cast<double>(foretold), static_cast<double>(made.bytes),
              0.1 * static_cast<double>(made.bytes) + 2000.0 * static_cast<double>(made.segments));
}

TEST_F(CompressStageTest, TextMethodsKeepTextAndQueryAwareOnesNothing) {
  store::Corpus c = corpus("c", {"a"});
  const auto truncate = compress::make_compressor(ctx_, base_, "truncate");
  EXPECT_GT(run(c, *truncate, {}).made, 0);
  const auto quito = compress::make_compressor(ctx_, base_, "quito");
  const CompressResult result = run(c, *quito, {});
  EXPECT_EQ(result.made, 0);
  EXPECT_GT(result.segments, 0);
  EXPECT_EQ(c.jobs().counts(store::kStageCompress).done, 0);
}

}  // namespace
}  // namespace offbook::learn
