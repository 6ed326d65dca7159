#include "src/model/decoder.h"

#include <numeric>
#include <random>
#include <utility>

#include "src/model/allocation_counter.h"
#include "src/model/generate.h"
#include "src/model/lora_init.h"
#include "src/ops/registry.h"

namespace offbook::model {
namespace {

Tensor random_tensor(const Shape& shape, float scale, std::mt19937& rng) {
  Tensor t = Tensor::empty(Dtype::f32, shape);
  std::normal_distribution<float> normal(0, scale);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] = normal(rng);
  }
  return t;
}

Tensor ones(int64_t n) {
  Tensor t = Tensor::empty(Dtype::f32, {n});
  std::fill_n(t.data<float>(), n, 1.0f);
  return t;
}

ModelConfig tiny_config(Architecture architecture) {
  ModelConfig c;
  c.architecture = architecture;
  c.vocab_size = 40;
  c.hidden = 32;
  c.layers = 3;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn = 48;
  c.max_positions = 512;
  c.has_tied_embeddings = true;
  if (architecture == Architecture::qwen3) {
    c.has_qk_norm = true;
    c.has_tied_embeddings = false;
  }
  if (architecture == Architecture::qwen2) {
    c.has_qkv_bias = true;
  }
  if (architecture == Architecture::mistral) {
    c.layer_windows.assign(3, 5);
  }
  return c;
}

LlamaWeights random_weights(const ModelConfig& c) {
  std::mt19937 rng(11);
  LlamaWeights w;
  w.embedding = random_tensor({c.vocab_size, c.hidden}, 0.5f, rng);
  w.final_norm = ones(c.hidden);
  w.lm_head =
      c.has_tied_embeddings ? w.embedding : random_tensor({c.vocab_size, c.hidden}, 0.5f, rng);
  for (int64_t i = 0; i < c.layers; ++i) {
    LlamaLayerWeights l;
    l.attn_norm = ones(c.hidden);
    l.ffn_norm = ones(c.hidden);
    l.q = random_tensor({c.q_width(), c.hidden}, 0.3f, rng);
    l.k = random_tensor({c.kv_width(), c.hidden}, 0.3f, rng);
    l.v = random_tensor({c.kv_width(), c.hidden}, 0.3f, rng);
    l.o = random_tensor({c.hidden, c.q_width()}, 0.3f, rng);
    l.gate = random_tensor({c.ffn, c.hidden}, 0.3f, rng);
    l.up = random_tensor({c.ffn, c.hidden}, 0.3f, rng);
    l.down = random_tensor({c.hidden, c.ffn}, 0.3f, rng);
    if (c.has_qkv_bias) {
      l.q_bias = random_tensor({c.q_width()}, 0.3f, rng);
      l.k_bias = random_tensor({c.kv_width()}, 0.3f, rng);
      l.v_bias = random_tensor({c.kv_width()}, 0.3f, rng);
    }
    if (c.has_qk_norm) {
      l.q_norm = random_tensor({c.head_dim}, 1, rng);
      l.k_norm = random_tensor({c.head_dim}, 1, rng);
    }
    w.layers.push_back(l);
  }
  return w;
}

class DecoderTest : public testing::TestWithParam<Architecture> {
 protected:
  DecoderTest()
      : backend_(backend::best_cpu_backend()),
        ctx_{.backend = backend_, .pool = &pool_, .arena = &arena_},
        model_(ctx_, tiny_config(GetParam()), random_weights(tiny_config(GetParam()))) {}

  Decoder decoder(Dtype cache = Dtype::f32, int64_t cache_tokens = 1024) {
    return Decoder(pool_, model_,
                   {.backend = backend_,
                    .compute = backend::Compute::f32,
                    .cache = cache,
                    .cache_tokens = cache_tokens,
                    .prefill_rows = 64});
  }
  std::vector<int32_t> tokens(int n, uint32_t seed = 1) const {
    std::mt19937 rng(seed);
    std::vector<int32_t> ids(static_cast<size_t>(n));
    for (int32_t& id : ids) {
      id = static_cast<int32_t>(rng() % 40);
    }
    return ids;
  }
  static std::vector<float> row(const Tensor& logits, int64_t r) {
    return {logits.data<float>() + r * logits.dim(1),
            logits.data<float>() + (r + 1) * logits.dim(1)};
  }
  static void expect_near(const std::vector<float>& a, const std::vector<float>& b,
                          float tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], tolerance) << i;
    }
  }

  backend::Backend backend_;
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  backend::ExecutionContext ctx_;
  Llama model_;
};

TEST_P(DecoderTest, OneByOneEqualsAllAtOnceEqualsThePackedPath) {
  Decoder d = decoder();
  const std::vector<int32_t> ids = tokens(150);
  Sequence whole = d.make_sequence();
  const auto at_once = row(d.append({.sequence = &whole, .tokens = ids}), 0);
  Sequence steps = d.make_sequence();
  std::vector<float> last;
  for (const int32_t& id : ids) {
    last = row(d.append({.sequence = &steps, .tokens = std::span(&id, 1)}), 0);
  }
  expect_near(at_once, last, 2e-4f);

  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const PackedSequence sequence{.length = 150};
  PackedAttention path(ctx_, model_.config(), model_.inv_freq(),
                       {.sequences = std::span(&sequence, 1), .positions = positions});
  const Graph g{ctx_};
  const Tensor x = model_.embed(g, make_ints(ctx_, ids, {150}), Dtype::f32);
  const Tensor hidden = model_.run(g, x, path, {});
  expect_near(at_once, row(model_.logits(ctx_, hidden.slice(0, 149, 150)), 0), 2e-4f);
}

TEST_P(DecoderTest, JoinedMatricesGiveTheSameLogits) {
  const Llama joined(ctx_, tiny_config(GetParam()), random_weights(tiny_config(GetParam())),
                     Matrices::joined);
  const std::vector<int32_t> ids = tokens(70);
  std::vector<std::vector<float>> rows;
  for (const Llama* model : {&std::as_const(model_), &joined}) {
    Decoder d(
        {.backend = backend_, .compute = backend::Compute::f32, .pool = &pool_, .arena = &arena_},
        *model, {.cache = Dtype::f32, .cache_tokens = 128});
    Sequence sequence = d.make_sequence();
    rows.push_back(row(d.append({.sequence = &sequence, .tokens = ids}), 0));
  }
  expect_near(rows[0], rows[1], 1e-5f);
}

TEST_P(DecoderTest, ARowInABatchHasTheBitsItHasAlone) {
  Decoder d = decoder(Dtype::bf16, 4096);
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < 8; ++i) {
    prompts.push_back(tokens(20 + 9 * i, static_cast<uint32_t>(i)));
  }
  const auto prefill = [&](std::vector<Sequence>& sequences) {
    for (const auto& prompt : prompts) {
      sequences.push_back(d.make_sequence());
      d.append({.sequence = &sequences.back(), .tokens = prompt, .wants_logits = false});
    }
  };
  std::vector<Sequence> alone;
  prefill(alone);
  std::vector<std::vector<float>> want;
  const int32_t next = 7;
  for (Sequence& s : alone) {
    want.push_back(row(d.append({.sequence = &s, .tokens = std::span(&next, 1)}), 0));
  }
  std::vector<Sequence> together;
  prefill(together);
  std::vector<Append> batch;
  for (Sequence& s : together) {
    batch.push_back({.sequence = &s, .tokens = std::span(&next, 1)});
  }
  const Tensor logits = d.append(batch);
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(row(logits, i) == want[static_cast<size_t>(i)]) << "row " << i;
  }
}

TEST_P(DecoderTest, SoftTokensOfEmbeddingsEqualTokens) {
  Decoder d = decoder();
  const std::vector<int32_t> ids = tokens(90);
  Sequence a = d.make_sequence();
  const auto want = row(d.append({.sequence = &a, .tokens = ids}), 0);
  Tensor vectors = Tensor::empty(Dtype::f32, {90, model_.config().hidden});
  ops::embedding(
      ctx_,
      {.ids = make_ints(ctx_, ids, {90}), .table = model_.weights().embedding, .out = vectors});
  Sequence b = d.make_sequence();
  expect_near(want, row(d.append({.sequence = &b, .soft_tokens = vectors}), 0), 1e-5f);
}

TEST_P(DecoderTest, AnAttachedPrefixEqualsTheTokensItCameFrom) {
  const ModelConfig& config = model_.config();
  const std::vector<int32_t> ids = tokens(70);
  std::vector<int32_t> rows(70);
  std::iota(rows.begin(), rows.end(), 0);
  const PackedSequence sequence{.length = 70};
  PackedAttention path(ctx_, config, model_.inv_freq(),
                       {.sequences = std::span(&sequence, 1), .positions = rows, .capture = rows});
  const Graph g{ctx_};
  model_.run(g, model_.embed(g, make_ints(ctx_, ids, {70}), Dtype::f32), path, {});
  Tensor kv = Tensor::empty(Dtype::f32, {config.layers, 2, 70, config.kv_heads, config.head_dim});
  for (int64_t l = 0; l < config.layers; ++l) {
    for (int64_t which = 0; which < 2; ++which) {
      const Tensor& from = which == 0 ? path.kept()->k[static_cast<size_t>(l)]
                                      : path.kept()->v[static_cast<size_t>(l)];
      std::memcpy(kv.slice(0, l, l + 1).slice(1, which, which + 1).raw(), from.raw(),
                  static_cast<size_t>(from.bytes()));
    }
  }
  Decoder d = decoder();
  const std::vector<int32_t> question = tokens(6, 99);
  Sequence text = d.make_sequence();
  d.append({.sequence = &text, .tokens = ids, .wants_logits = false});
  const auto want = row(d.append({.sequence = &text, .tokens = question}), 0);
  Sequence slots = d.make_sequence();
  d.attach(slots, kv);
  expect_near(want, row(d.append({.sequence = &slots, .tokens = question}), 0), 2e-4f);
}

TEST_P(DecoderTest, AdaptersPerRow) {
  Decoder d = decoder();
  LoraAdapter one = make_lora_adapter(model_.config(), {.rank = 4, .alpha = 8, .seed = 1});
  LoraAdapter two = make_lora_adapter(
      model_.config(), {.rank = 2, .alpha = 8, .targets = {LoraTarget::down}, .seed = 2});
  std::mt19937 rng(3);
  for (LoraAdapter* adapter : {&one, &two}) {
    for (auto& layer : adapter->layers) {
      for (LoraPair& pair : layer) {
        if (pair.b.defined()) {
          pair.b = random_tensor(pair.b.shape(), 0.3f, rng);
        }
      }
    }
  }
  const std::vector<int32_t> ids = tokens(30);
  std::vector<std::vector<float>> want;
  for (const LoraAdapter* adapter :
       {static_cast<const LoraAdapter*>(nullptr), static_cast<const LoraAdapter*>(&one),
        static_cast<const LoraAdapter*>(&two)}) {
    LlamaWeights weights = model_.weights();
    if (adapter != nullptr) {
      weights = merged(ctx_, weights, *adapter, Dtype::f32);
    }
    const Llama merged_model(ctx_, model_.config(), weights);
    Decoder m(pool_, merged_model,
              {.backend = backend_, .compute = backend::Compute::f32, .cache = Dtype::f32});
    Sequence s = m.make_sequence();
    want.push_back(row(m.append({.sequence = &s, .tokens = ids}), 0));
  }
  Sequence s0 = d.make_sequence();
  Sequence s1 = d.make_sequence();
  Sequence s2 = d.make_sequence();
  const std::vector<Append> batch{{.sequence = &s0, .tokens = ids},
                                  {.sequence = &s1, .tokens = ids, .adapter = &one},
                                  {.sequence = &s2, .tokens = ids, .adapter = &two}};
  const Tensor logits = d.append(batch);
  for (int i = 0; i < 3; ++i) {
    expect_near(want[static_cast<size_t>(i)], row(logits, i), 5e-4f);
  }
  EXPECT_NE(want[0], want[1]);
  EXPECT_NE(want[0], want[2]);
}

// scale · B · A [out, in] of one matrix.
std::vector<float> change_of(const LoraAdapter& adapter, const LoraPair& pair) {
  if (!pair.a.defined()) {
    return {};
  }
  const int64_t in = pair.a.dim(1);
  std::vector<float> out(static_cast<size_t>(pair.b.dim(0) * in));
  for (int64_t r = 0; r < pair.b.dim(0); ++r) {
    for (int64_t k = 0; k < adapter.rank; ++k) {
      const float b = adapter.scale() * pair.b.data<float>()[r * adapter.rank + k];
      for (int64_t c = 0; c < in; ++c) {
        out[static_cast<size_t>(r * in + c)] += b * pair.a.data<float>()[k * in + c];
      }
    }
  }
  return out;
}

TEST(LoraInit, StackedIsTheSumOfBothChanges) {
  const ModelConfig config = tiny_config(Architecture::llama);
  std::mt19937 rng(5);
  const auto random_adapter = [&](const LoraOptions& options) {
    LoraAdapter adapter = make_lora_adapter(config, options);
    for (auto& layer : adapter.layers) {
      for (LoraPair& pair : layer) {
        if (pair.b.defined()) {
          pair.b = random_tensor(pair.b.shape(), 1, rng);
        }
      }
    }
    return adapter;
  };
  const LoraAdapter first =
      random_adapter({.rank = 2, .alpha = 4, .targets = {LoraTarget::q, LoraTarget::v}});
  const LoraAdapter second =
      random_adapter({.rank = 3, .alpha = 3, .targets = {LoraTarget::q, LoraTarget::gate}});
  const LoraAdapter both = stacked(first, second);
  EXPECT_EQ(both.rank, 5);
  check_fits(both, config, "both");
  for (const LoraTarget t : {LoraTarget::q, LoraTarget::v, LoraTarget::gate, LoraTarget::up}) {
    std::vector<float> want = change_of(first, first.pair(1, t));
    const std::vector<float> other = change_of(second, second.pair(1, t));
    want.resize(std::max(want.size(), other.size()));
    for (size_t i = 0; i < other.size(); ++i) {
      want[i] += other[i];
    }
    const std::vector<float> got = change_of(both, both.pair(1, t));
    ASSERT_EQ(got.size(), want.size()) << to_string(t);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], 1e-4f) << to_string(t);
    }
  }
}

TEST_P(DecoderTest, ForksShareAndThenPart) {
  Decoder d = decoder();
  const std::vector<int32_t> ids = tokens(100);
  Sequence base = d.make_sequence();
  d.append({.sequence = &base, .tokens = ids, .wants_logits = false});
  const int64_t free = d.cache().free_pages();
  Sequence fork = base.fork();
  EXPECT_EQ(d.cache().free_pages(), free);
  const std::vector<int32_t> a = tokens(9, 5);
  const std::vector<int32_t> b = tokens(9, 6);
  d.append({.sequence = &fork, .tokens = a, .wants_logits = false});
  const auto want = row(d.append({.sequence = &base, .tokens = b}), 0);
  fork.truncate(100);
  expect_near(want, row(d.append({.sequence = &fork, .tokens = b}), 0), 1e-6f);
}

TEST_P(DecoderTest, SteadyDecodingAllocatesNothing) {
  Decoder d = decoder();
  Sequence s = d.make_sequence();
  const std::vector<int32_t> ids = tokens(65);
  d.append({.sequence = &s, .tokens = ids});
  const int32_t next = 3;
  const Append step{.sequence = &s, .tokens = std::span(&next, 1)};
  for (int i = 0; i < 4; ++i) {
    d.append(step);
  }
  const size_t blocks = d.arena().blocks_allocated();
  const int64_t before = heap_allocations();
  for (int i = 0; i < 20; ++i) {  // within one page: a new page may grow the sequence's list
    d.append(step);
  }
  EXPECT_EQ(heap_allocations() - before, 0);
  EXPECT_EQ(d.arena().blocks_allocated(), blocks);
}

// One letter a token.
class Letters final : public text::Tokenizer {
 public:
  text::Encoding encode(std::string_view, const text::EncodeOptions&) const override { return {}; }
  void append_bytes(int32_t id, std::string& out) const override {
    out += static_cast<char>('0' + id);
  }
  bool begins_with_space() const noexcept override { return false; }
  const text::Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  text::Vocabulary vocabulary_{std::vector<std::string>(40, "x"), {}, {}};
};

TEST_P(DecoderTest, GuessesFromThePromptDoNotChangeTheAnswer) {
  int32_t passes = 0;
  int32_t chosen = 0;
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    std::vector<int32_t> prompt = tokens(20, seed);
    const std::vector<int32_t> again = prompt;
    prompt.insert(prompt.end(), again.begin(), again.end());
    const auto answer = [&](bool with_guesses, Sequence& s, Decoder& d) {
      const Tensor logits = d.append({.sequence = &s, .tokens = prompt});
      return generate(d, Letters(), s, logits,
                      {.sampling = {.temperature = seed % 2 == 0 ? 0.3f : 0.0f, .seed = seed},
                       .max_tokens = 90,
                       .stop_tokens = seed > 4 ? std::vector<int32_t>{5} : std::vector<int32_t>{},
                       .lookup = with_guesses ? prompt : std::vector<int32_t>{}});
    };
    Decoder plain = decoder(Dtype::bf16);
    Decoder guessing = decoder(Dtype::bf16);
    Sequence a = plain.make_sequence();
    Sequence b = guessing.make_sequence();
    const Generated want = answer(false, a, plain);
    const Generated got = answer(true, b, guessing);
    EXPECT_EQ(got.tokens, want.tokens) << seed;
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.reason, want.reason);
    EXPECT_EQ(b.length(), a.length());
    EXPECT_EQ(b.next_position(), a.next_position());
    const int32_t next = 1;
    EXPECT_EQ(row(plain.append({.sequence = &a, .tokens = std::span(&next, 1)}), 0),
              row(guessing.append({.sequence = &b, .tokens = std::span(&next, 1)}), 0));
    EXPECT_LE(got.passes, want.passes);
    passes += got.passes;
    chosen += static_cast<int32_t>(got.tokens.size());
  }
  EXPECT_LT(passes, chosen);  // a tiny model repeats itself: some guesses are right
}

TEST_P(DecoderTest, LimitsAreErrorsAndNothingIsAppended) {
  Decoder d = decoder();
  Sequence s = d.make_sequence();
  const std::vector<int32_t> too_long = tokens(513);
  EXPECT_THROW(d.append({.sequence = &s, .tokens = too_long}), Error);
  const std::vector<int32_t> bad{3, 40};
  EXPECT_THROW(d.append({.sequence = &s, .tokens = bad}), Error);
  EXPECT_THROW(d.append({.sequence = &s}), Error);
  EXPECT_EQ(s.length(), 0);
  std::vector<Sequence> many;
  const std::vector<int32_t> ids = tokens(500);
  many.push_back(d.make_sequence());
  d.append({.sequence = &many.back(), .tokens = ids});
  many.push_back(d.make_sequence());
  d.append({.sequence = &many.back(), .tokens = ids});
  try {
    d.append({.sequence = &s, .tokens = ids});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::OutOfMemory);
  }
  EXPECT_EQ(s.length(), 0);
}

INSTANTIATE_TEST_SUITE_P(Models, DecoderTest,
                         testing::Values(Architecture::llama, Architecture::mistral,
                                         Architecture::qwen2, Architecture::qwen3),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace offbook::model
