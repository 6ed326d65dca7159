// What every compression method must do, whatever it is.
#include <cstring>
#include <set>

#include "src/compress/autocompressor/autocompressor.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/icae/icae.h"
#include "src/compress/quito/compressor.h"
#include "src/compress/registry.h"
#include "src/compress/test_model.h"
#include "src/model/decoder.h"
#include "src/store/context_artefact.h"

namespace offbook::compress {
namespace {

using testing_models::ByteTokenizer;
using testing_models::TinyModel;

// Weights that have been "trained": every factor is random, so that nothing is hidden behind a
// zero.
CompressorWeights random_compressor(TinyModel& tiny, std::string_view id) {
  CompressorWeights weights{
      .method = std::string(id), .base = tiny.base.fingerprint, .recipe = "r"};
  std::mt19937 rng(5);
  const auto shake = [&](model::LoraAdapter& lora) {
    for (auto& layer : lora.layers) {
      for (model::LoraPair& pair : layer) {
        if (pair.b.defined()) {
          pair.b = testing_models::random_tensor(pair.b.shape(), 0.2f, rng);
        }
      }
    }
  };
  if (id == "autocompressor") {
    AutoWeights autocompressor = new_autocompressor(tiny.ctx, tiny.base, {.summary_tokens = 20});
    shake(autocompressor.lora);
    autocompressor.summary =
        testing_models::random_tensor(autocompressor.summary.shape(), 0.5f, rng);
    put_autocompressor(autocompressor, weights);
    return weights;
  }
  if (id == "icae") {
    IcaeWeights icae = new_icae(tiny.ctx, tiny.base, {.memory_tokens = 20, .noise = 0.5f});
    shake(icae.encoder.lora);
    put_icae(icae, weights);
    return weights;
  }
  OB_CHECK(id == "beacon");
  BeaconWeights beacon = new_beacon(tiny.ctx, tiny.base, {.ratios = {4, 8}});
  shake(beacon.lora);
  put_beacon(beacon, weights);
  return weights;
}

std::string sample_text(size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) {
    text += fmt::format("Sentence {} speaks of naïve tea, 東京 and 🙂. ", i);
  }
  text.resize(bytes);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0) {
    text.pop_back();
  }
  return text;
}

class ConformanceTest : public testing::TestWithParam<const Method*> {
 protected:
  ConformanceTest() : compressor_(make(tiny_)) {}
  void use(backend::Compute compute) {
    tiny_.ctx.compute = compute;
    compressor_ = make(tiny_);
  }

  static std::unique_ptr<Compressor> make(TinyModel& tiny) {
    if (GetParam()->id == "quito_heads") {  // heads are chosen for models of use only
      return std::make_unique<QuitoCompressor>(tiny.base, QuitoCompressor::Row::chosen_heads,
                                               ChosenAttention{.heads = {{0, 1}, {1, 0}},
                                                               .asking = Asking::question,
                                                               .has_equal_heads = true,
                                                               .sigma = 4});
    }
    if (!GetParam()->needs_training) {
      return make_compressor(tiny.ctx, tiny.base, GetParam()->id);
    }
    const CompressorWeights weights = random_compressor(tiny, GetParam()->id);
    return make_compressor(tiny.ctx, tiny.base, GetParam()->id, &weights);
  }
  CompressedContext compress(const std::string& text, const Budget& budget, uint64_t seed = 1) {
    const Segment segment = tiny_.segment(text);
    const Request request{.segment = &segment, .text = text, .budget = budget, .seed = seed};
    return compressor_->compress(tiny_.ctx, std::span(&request, 1)).front();
  }
  static std::vector<std::byte> bytes(const CompressedContext& context) {
    return store::encode_artefact(store::to_artefact(context, 100, store::KvPrecision::as_made));
  }
  static int64_t positions(const std::vector<ContextPart>& parts) {
    int64_t n = 0;
    for (const ContextPart& part : parts) {
      n += static_cast<int64_t>(part.tokens.size());
      n += part.soft_tokens.defined() ? part.soft_tokens.dim(0) : 0;
      n += part.kv.defined() ? part.kv.dim(2) : 0;
    }
    return n;
  }
  // Logits behind the attached parts.
  std::vector<float> read(const std::vector<ContextPart>& parts, const std::string& question) {
    model::Decoder decoder(
        tiny_.pool, tiny_.llama,
        {.backend = tiny_.ctx.backend, .compute = backend::Compute::f32, .cache = Dtype::f32});
    model::Sequence sequence = decoder.make_sequence();
    for (const ContextPart& part : parts) {
      if (part.kv.defined()) {
        decoder.attach(sequence, part.kv);
      } else {
        decoder.append({.sequence = &sequence,
                        .tokens = part.tokens,
                        .soft_tokens = part.soft_tokens,
                        .adapter = compressor_->reader_adapter(),
                        .wants_logits = false});
      }
    }
    const auto ids = tiny_.tokenizer.encode(question).ids;
    const Tensor logits = decoder.append(
        {.sequence = &sequence, .tokens = ids, .adapter = compressor_->reader_adapter()});
    return {logits.data<float>(), logits.data<float>() + logits.numel()};
  }

  TinyModel tiny_;
  std::unique_ptr<Compressor> compressor_;
};

TEST_P(ConformanceTest, DescribesItself) {
  const Description& d = compressor_->describe();
  EXPECT_EQ(d.id, GetParam()->id);
  EXPECT_EQ(d.kind, GetParam()->kind);
  EXPECT_EQ(d.needs_training, GetParam()->needs_training);
  EXPECT_EQ(d.weights_hash.size(), d.needs_training ? 32u : 0u);
  if (!d.needs_training) {
    EXPECT_THROW(compressor_->weights(), Error);
  }
}

TEST_P(ConformanceTest, TheBudgetIsRespectedAndPlanned) {
  for (const size_t length : {1, 7, 8, 9, 63, 400, 1500}) {
    const std::string text = sample_text(length);
    const auto n = static_cast<int32_t>(text.size());
    for (const Budget& budget :
         {Budget{.ratio = 1}, Budget{.ratio = 4}, Budget{.ratio = 5.5}, Budget{.ratio = 30},
          Budget{.tokens = 1}, Budget{.tokens = 17}, Budget{.tokens = 4000}}) {
      if (budget.tokens == 1 && length > 1000) {
        continue;  // no slot closes that much
      }
      const CompressedContext context = compress(text, budget);
      const int32_t limit = kept_limit(n, budget);
      EXPECT_LE(context.tokens_after, limit)
          << text.size() << " ratio " << budget.ratio << " tokens " << budget.tokens;
      EXPECT_EQ(context.tokens_before, n);
      const Segment segment = tiny_.segment(text);
      const Plan plan = compressor_->plan({.segment = &segment, .text = text, .budget = budget});
      EXPECT_LE(context.tokens_after, plan.kept_tokens);
      EXPECT_LE(plan.kept_tokens, limit);
      const Attachment attachment{.context = &context};
      EXPECT_EQ(
          positions(compressor_->attach(std::span(&attachment, 1), {.has_text_before = true})),
          context.tokens_after);
    }
  }
  EXPECT_THROW(compress("text", {}), Error);
  EXPECT_THROW(compress("text", {.ratio = 8, .tokens = 8}), Error);
  EXPECT_THROW(compress("text", {.ratio = 0.5}), Error);
  EXPECT_THROW(compress("text", {.tokens = -1}), Error);
}

TEST_P(ConformanceTest, SameSeedSameBytesAloneOrInABatch) {
  std::vector<std::string> texts{sample_text(700), sample_text(90), sample_text(1500),
                                 sample_text(1)};
  std::vector<Segment> segments;
  std::vector<Request> requests;
  segments.reserve(texts.size());
  for (const std::string& text : texts) {
    segments.push_back(tiny_.segment(text));
    requests.push_back(
        {.segment = &segments.back(), .text = text, .budget = {.ratio = 8}, .seed = 7});
  }
  for (const auto compute : {backend::Compute::f32, backend::Compute::bf16}) {
    use(compute);
    const auto together = compressor_->compress(tiny_.ctx, requests);
    ASSERT_EQ(together.size(), texts.size());
    const auto again = make(tiny_)->compress(tiny_.ctx, requests);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_TRUE(bytes(together[i]) == bytes(again[i])) << i;
      EXPECT_TRUE(bytes(together[i]) == bytes(compress(texts[i], {.ratio = 8}, 7))) << i;
    }
  }
}

TEST_P(ConformanceTest, SlotsNameTheirSource) {
  const std::string text = sample_text(900);
  const CompressedContext context = compress(text, {.ratio = 8});
  ASSERT_FALSE(context.slot_spans.empty());
  uint64_t before = 100;
  std::string kept;
  for (const ByteSpan& span : context.slot_spans) {
    EXPECT_GE(span.begin, before);
    EXPECT_GT(span.end, span.begin);
    EXPECT_LE(span.end, 100 + text.size());
    before = span.end;
    kept += text.substr(span.begin - 100, span.end - span.begin);
  }
  if (context.kind == ContextKind::text) {
    EXPECT_EQ(kept, context.text);
  } else {
    EXPECT_EQ(kept, text);  // slots close all of it
  }
}

TEST_P(ConformanceTest, NoCutInsideACharacter) {
  const std::string text = "日本語のテキスト、ёлка и 🙂🙂 naïve";
  for (int32_t kept = 1; kept < 60; ++kept) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const CompressedContext context = compress(text, {.tokens = kept}, seed);
      if (context.kind != ContextKind::text) {
        return;  // slots hold no text
      }
      EXPECT_EQ(text::decode(tiny_.tokenizer, tiny_.tokenizer.encode(context.text).ids),
                context.text);
    }
  }
}

TEST_P(ConformanceTest, RoundTripThroughTheStore) {
  const CompressedContext context = compress(sample_text(300), {.ratio = 8});
  const auto artefact = store::to_artefact(context, 100, store::KvPrecision::as_made);
  CompressedContext back = store::to_context(artefact, 100);
  EXPECT_EQ(bytes(back), bytes(context));
  const Attachment one{.context = &context};
  const Attachment two{.context = &back};
  EXPECT_EQ(read(compressor_->attach(std::span(&one, 1), {}), "why?"),
            read(compressor_->attach(std::span(&two, 1), {}), "why?"));
}

TEST_P(ConformanceTest, EmptyAndOneToken) {
  const CompressedContext empty = compress("", {.ratio = 8});
  EXPECT_EQ(empty.tokens_after, 0);
  EXPECT_TRUE(empty.slot_spans.empty());
  const CompressedContext one = compress("x", {.ratio = 8});
  EXPECT_EQ(one.tokens_after, 1);
  ASSERT_EQ(one.slot_spans.size(), 1u);
  EXPECT_EQ(one.slot_spans[0], (ByteSpan{100, 101}));
  const Attachment both[] = {{.context = &empty}, {.context = &one}};
  EXPECT_TRUE(compressor_->attach(std::span(both, 1), {}).empty());
  EXPECT_EQ(positions(compressor_->attach(both, {.has_text_before = true})), 1);
  EXPECT_TRUE(compressor_->compress(tiny_.ctx, {}).empty());
}

TEST_P(ConformanceTest, OverLongInputIsCompressedInBoundedMemory) {
  const std::string text = sample_text(40'000);
  compress(sample_text(1600), {.ratio = 16});
  const size_t before = tiny_.arena.peak_bytes();
  const CompressedContext context = compress(text, {.ratio = 16});
  EXPECT_LE(context.tokens_after, kept_limit(static_cast<int32_t>(text.size()), {.ratio = 16}));
  EXPECT_GT(context.tokens_after, static_cast<int>(text.size()) / 18);
  EXPECT_LE(tiny_.arena.peak_bytes(), 2 * before + (size_t{1} << 20));
}

TEST_P(ConformanceTest, PickedSlotsOfSeveralSegmentsAreJoined) {
  const CompressedContext a = compress(sample_text(200), {.ratio = 8}, 1);
  const CompressedContext b = compress(sample_text(330), {.ratio = 8}, 2);
  const int32_t last = static_cast<int32_t>(b.slot_spans.size()) - 1;
  const Attachment picked[] = {{.context = &a},
                               {.context = &b, .slots = std::vector<int32_t>{last}}};
  const Attachment all[] = {{.context = &a}, {.context = &b}};
  const auto parts = compressor_->attach(picked, {});
  const auto logits = read(parts, "why?");
  EXPECT_TRUE(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }));
  EXPECT_LE(positions(parts) - positions(compressor_->attach(picked, {.has_text_before = true})),
            1);
  if (last > 0) {
    EXPECT_LT(positions(parts), positions(compressor_->attach(all, {})));
    EXPECT_NE(logits, read(compressor_->attach(all, {}), "why?"));
  }
  for (const std::vector<int32_t>& bad : {std::vector<int32_t>{last + 1}, {0, 0}, {-1}}) {
    const Attachment wrong{.context = &b, .slots = bad};
    EXPECT_THROW(compressor_->attach(std::span(&wrong, 1), {}), Error);
  }
}

TEST_P(ConformanceTest, AnotherModelOrMethodIsRefused) {
  CompressedContext context = compress(sample_text(100), {.ratio = 8});
  const Attachment attachment{.context = &context};
  context.method = "other";
  EXPECT_THROW(compressor_->attach(std::span(&attachment, 1), {}), Error);
  context.method = GetParam()->id;
  context.base.model = std::string(32, 'f');
  if (context.kind == ContextKind::text) {
    EXPECT_NO_THROW(compressor_->attach(std::span(&attachment, 1), {}));
    return;
  }
  EXPECT_THROW(compressor_->attach(std::span(&attachment, 1), {}), Error);
  context.base = tiny_.base.fingerprint;
  context.weights_hash = std::string(32, '0');
  EXPECT_THROW(compressor_->attach(std::span(&attachment, 1), {}), Error);

  CompressorWeights weights = random_compressor(tiny_, GetParam()->id);
  weights.base.model = std::string(32, 'f');
  EXPECT_THROW(make_compressor(tiny_.ctx, tiny_.base, GetParam()->id, &weights), Error);
  EXPECT_THROW(make_compressor(tiny_.ctx, tiny_.base, GetParam()->id), Error);
}

TEST_P(ConformanceTest, SavedAndLoadedItWritesTheSameBytes) {
  if (!GetParam()->needs_training) {
    return;
  }
  const auto path =
      std::filesystem::path(testing::TempDir()) / fmt::format("{}.weights", GetParam()->id);
  save_weights(real_file_system(), path, compressor_->weights());
  const CompressedContext before = compress(sample_text(300), {.ratio = 8});
  compressor_ = load_compressor(tiny_.ctx, tiny_.base, real_file_system(), path);
  EXPECT_EQ(bytes(before), bytes(compress(sample_text(300), {.ratio = 8})));
  std::filesystem::remove(path);
}

TEST_P(ConformanceTest, APriorChangesWhatIsKept) {
  if (GetParam()->kind == ContextKind::text) {
    return;
  }
  const CompressedContext prior = compress(sample_text(200), {.ratio = 8});
  const std::string text = sample_text(2500).substr(400);
  const Segment segment = tiny_.segment(text);
  const Request alone{.segment = &segment, .text = text, .budget = {.ratio = 8}};
  Request recursive = alone;
  recursive.prior = &prior;
  const auto a = compressor_->compress(tiny_.ctx, std::span(&alone, 1)).front();
  const auto b = compressor_->compress(tiny_.ctx, std::span(&recursive, 1)).front();
  EXPECT_EQ(a.tokens_after, b.tokens_after);
  EXPECT_EQ(bytes(a) == bytes(b), GetParam()->id == "icae");  // which encodes every span alone
  CompressedContext foreign = prior;
  foreign.base.model = std::string(32, 'f');
  recursive.prior = &foreign;
  EXPECT_THROW(compressor_->compress(tiny_.ctx, std::span(&recursive, 1)), Error);
}

std::vector<const Method*> all_methods() {
  std::vector<const Method*> out;
  for (const Method& method : methods()) {
    out.push_back(&method);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Methods, ConformanceTest, testing::ValuesIn(all_methods()),
                         [](const auto& info) { return std::string(info.param->id); });

TEST(Registry, IdsAreUniqueAndUnknownOnesAreNamed) {
  std::set<std::string_view> ids;
  for (const Method& method : methods()) {
    EXPECT_TRUE(ids.insert(method.id).second);
  }
  try {
    find_method("zip");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string_view(e.what()).find("truncate, head_tail"), std::string_view::npos);
  }
}

TEST(Registry, HeadsThatNobodyChoseAreUnsupported) {
  TinyModel tiny;
  try {
    make_compressor(tiny.ctx, tiny.base, "quito_heads");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Unsupported);
  }
}

TEST(Baselines, KeepWhatTheirNamesSay) {
  TinyModel tiny;
  const std::string text = "abcdefghij";
  const Segment segment = tiny.segment(text);
  const Request request{.segment = &segment, .text = text, .budget = {.tokens = 5}, .seed = 3};
  const auto kept = [&](std::string_view id) {
    return make_compressor(tiny.ctx, tiny.base, id)
        ->compress(tiny.ctx, std::span(&request, 1))
        .front();
  };
  EXPECT_EQ(kept("truncate").text, "abcde");
  EXPECT_EQ(kept("head_tail").text, "abcij");
  const CompressedContext random = kept("random");
  EXPECT_EQ(random.text.size(), 5u);
  EXPECT_TRUE(std::is_sorted(random.text.begin(), random.text.end()));
}

}  // namespace
}  // namespace offbook::compress
