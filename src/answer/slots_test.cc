#include "src/answer/slots.h"

#include "src/compress/beacon/weights.h"
#include "src/compress/registry.h"
#include "src/compress/test_model.h"
#include "src/store/store_testing.h"

namespace offbook::answer {
namespace {

using compress::testing_models::TinyModel;

class SlotsTest : public testing::Test {
 protected:
  SlotsTest() : corpus_(store::Corpus::create(dir_.path() / "c", {})) {
    compress::CompressorWeights weights{.method = "beacon", .base = tiny_.base.fingerprint};
    compress::put_beacon(compress::new_beacon(tiny_.ctx, tiny_.base, {}), weights);
    beacon_ = compress::make_compressor(tiny_.ctx, tiny_.base, "beacon", &weights);
    recipe_ = {.method = "beacon",
               .weights_hash = beacon_->describe().weights_hash,
               .base = tiny_.base.fingerprint,
               .ratio = 8};
    generation_ = corpus_.generations().begin({});
    for (const char* id : {"a", "b"}) {
      std::vector<std::string> lines;
      for (int i = 0; i < 6; ++i) {
        lines.push_back(fmt::format("passage {} of {}, 32 bytes to read", i, id));
      }
      const int64_t number = store::put_document(corpus_, generation_, id, lines);
      const Document document = corpus_.documents().load(number);
      Segment segment = tiny_.segment(document.text, 0);
      segment.document_id = id;
      segment.ordinal = 0;
      segment.last_passage = 5;
      corpus_.contexts().put_segments(number, {segment});
      numbers_.push_back(number);
    }
    for (const int64_t number : numbers_) {
      put_context(number);
    }
  }

  void put_context(int64_t number) {
    const Segment segment = corpus_.contexts().segments(number).at(0);
    const std::string text = corpus_.documents().text(number, segment.span);
    const compress::Request request{.segment = &segment, .text = text, .budget = {.ratio = 8}};
    corpus_.contexts().put(number, segment,
                           beacon_->compress(tiny_.ctx, std::span(&request, 1)).front(),
                           store::KvPrecision::eight_bits);
  }
  SlotSource source(std::set<int64_t> trusted) {
    return SlotSource(corpus_, *beacon_, tiny_.base, tiny_.ctx,
                      {.recipe = recipe_, .trusted = std::move(trusted)});
  }
  retrieve::RankedPassage ranked(int64_t number, int ordinal) {
    return {.passage = corpus_.documents().passages(number).at(static_cast<size_t>(ordinal)),
            .path = "p"};
  }
  FocusText raw(int64_t number, int ordinal) {
    return {.document = number, .passages = {ranked(number, ordinal).passage}};
  }

  TinyModel tiny_;
  store::TemporaryDirectory dir_;
  store::Corpus corpus_;
  std::unique_ptr<compress::Compressor> beacon_;
  store::ContextRecipe recipe_;
  int64_t generation_ = 0;
  std::vector<int64_t> numbers_;
};

TEST_F(SlotsTest, PassagesArePickedByTheirSpansAndRawOnesAreLeftOut) {
  SlotSource s = source({});
  const std::vector<retrieve::RankedPassage> found = {ranked(numbers_[0], 1),
                                                      ranked(numbers_[1], 4)};
  const SlotText text =
      s.choose(found, std::vector<FocusText>{raw(numbers_[0], 1)}, SlotUse::always, 8, 8);
  ASSERT_FALSE(text.passages.empty());
  EXPECT_EQ(text.passages[0].document, numbers_[1]);
  EXPECT_EQ(text.passages[0].ordinal, 4);
  // A passage of about 36 bytes touches five or six slots of eight.
  EXPECT_GE(text.passages[0].slots, 5);
  EXPECT_LE(text.passages[0].slots, 6);
  EXPECT_LE(text.tokens, 8);
  ASSERT_EQ(text.parts.size(), 1u);
  EXPECT_EQ(text.parts[0].kv.dim(2), text.tokens) << "text stands before: no sink";
}

TEST_F(SlotsTest, NeighboursFillTheBudgetAndEqualChoicesHaveEqualKeys) {
  SlotSource s = source({});
  const std::vector<retrieve::RankedPassage> found = {ranked(numbers_[0], 2)};
  const SlotText wide = s.choose(found, {}, SlotUse::always, 20, 20);
  EXPECT_GT(wide.passages.size(), 2u);
  EXPECT_LE(wide.tokens, 20);
  EXPECT_EQ(wide.parts[0].key, s.choose(found, {}, SlotUse::always, 20, 20).parts[0].key);
  const SlotText narrow = s.choose(found, {}, SlotUse::only, 20, 20);
  EXPECT_EQ(narrow.passages.size(), 1u) << "only what was found";
  EXPECT_NE(narrow.parts[0].key, wide.parts[0].key);
  EXPECT_TRUE(s.choose(found, {}, SlotUse::always, 3, 20).passages.empty()) << "too small a budget";
}

TEST_F(SlotsTest, OnlyTrustedDocumentsUnlessAskedFor) {
  SlotSource s = source({numbers_[1]});
  const std::vector<retrieve::RankedPassage> found = {ranked(numbers_[0], 1),
                                                      ranked(numbers_[1], 1)};
  for (const SlotPassage& p : s.choose(found, {}, SlotUse::automatic, 100, 100).passages) {
    EXPECT_EQ(p.document, numbers_[1]);
  }
  EXPECT_TRUE(s.has_any(SlotUse::automatic));
  EXPECT_FALSE(source({}).has_any(SlotUse::automatic));
  EXPECT_TRUE(source({}).has_any(SlotUse::always));
  EXPECT_FALSE(s.has_any(SlotUse::never));
  EXPECT_EQ(s.choose(found, {}, SlotUse::never, 100, 100).tokens, 0);
}

TEST_F(SlotsTest, AnEvictedContextIsMadeAgainFromItsText) {
  SlotSource first = source({});
  const std::vector<retrieve::RankedPassage> found = {ranked(numbers_[0], 1)};
  const SlotText before = first.choose(found, {}, SlotUse::only, 100, 4);
  EXPECT_TRUE(first.take_made().empty());
  corpus_.contexts().enforce_budget(0);
  SlotSource second = source({});
  const SlotText after = second.choose(found, {}, SlotUse::only, 100, 4);
  EXPECT_EQ(after.parts[0].key, before.parts[0].key);
  EXPECT_EQ(after.tokens, before.tokens);
  const auto made = second.take_made();
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0].document, numbers_[0]);
  EXPECT_EQ(second.take_used(), (std::vector<std::pair<int64_t, int>>{{numbers_[0], 0}}));
  EXPECT_TRUE(second.take_made().empty());
}

TEST_F(SlotsTest, SlotsAreReusedByTheRunnerAndNotComputed) {
  SlotSource s = source({});
  const SlotText text = s.choose(std::vector{ranked(numbers_[0], 1)}, {}, SlotUse::only, 100, 4);
  model::Decoder decoder(tiny_.pool, tiny_.llama, {.backend = tiny_.ctx.backend});
  PromptRunner runner(decoder);
  Prompt prompt = {{.name = "system", .tokens = {20, 21, 22}}};
  prompt.insert(prompt.end(), text.parts.begin(), text.parts.end());
  prompt.push_back({.name = "question", .tokens = {30, 31}});
  PromptRun run = runner.run(prompt, nullptr, "");
  EXPECT_EQ(run.attached_tokens, text.tokens);
  EXPECT_EQ(run.computed_tokens, 5);
  runner.keep(std::move(run), prompt, "", {40});
  prompt.back().tokens = {30, 33, 34};
  run = runner.run(prompt, nullptr, "");
  EXPECT_EQ(run.reused_tokens, 3 + text.tokens + 1);
  EXPECT_EQ(run.attached_tokens, 0);
  EXPECT_EQ(run.computed_tokens, 2);
}

TEST(SlotUseNames, AreTheFourOfTheCommandLine) {
  EXPECT_EQ(slot_use_named("auto"), SlotUse::automatic);
  EXPECT_EQ(slot_use_named("only"), SlotUse::only);
  EXPECT_EQ(store::error_of([] { slot_use_named("sometimes"); }).first, ErrorCode::InvalidArgument);
}

}  // namespace
}  // namespace offbook::answer
