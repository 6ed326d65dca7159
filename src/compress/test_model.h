// For tests: a tiny random model and a tokenizer of bytes, so that every non-ASCII character is
// several tokens.
#pragma once
#include <random>

#include "src/compress/compressor.h"

namespace offbook::compress::testing_models {

// Token 0 is the sink, 1 and 2 are ChatML's, byte b is token b + 16.
class ByteTokenizer final : public text::Tokenizer {
 public:
  ByteTokenizer() : vocabulary_(pieces(), types(), {}) {}

  text::Encoding encode(std::string_view text, const text::EncodeOptions&) const override {
    text::Encoding out;
    for (size_t i = 0; i < text.size(); ++i) {
      out.ids.push_back(static_cast<unsigned char>(text[i]) + kFirstByte);
      out.spans.push_back({i, i + 1});
    }
    return out;
  }
  using text::Tokenizer::encode;
  void append_bytes(int32_t id, std::string& out) const override {
    if (id >= kFirstByte) {
      out += static_cast<char>(id - kFirstByte);
    }
  }
  bool begins_with_space() const noexcept override { return false; }
  const text::Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

  static constexpr int32_t kFirstByte = 16;
  static constexpr int32_t kSize = 272;

 private:
  static std::vector<text::TokenType> types() {
    std::vector<text::TokenType> out(kSize, text::TokenType::normal);
    out[1] = out[2] = text::TokenType::control;
    return out;
  }
  static std::vector<std::string> pieces() {
    std::vector<std::string> out;
    for (int i = 0; i < kSize; ++i) {
      out.push_back(i == 1 ? "<|im_start|>" : i == 2 ? "<|im_end|>" : fmt::format("<{}>", i));
    }
    return out;
  }
  text::Vocabulary vocabulary_;
};

inline Tensor random_tensor(const Shape& shape, float scale, std::mt19937& rng) {
  Tensor t = Tensor::empty(Dtype::f32, shape);
  std::normal_distribution<float> normal(0, scale);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] = normal(rng);
  }
  return t;
}

inline model::ModelConfig tiny_config() {
  model::ModelConfig c;
  c.vocab_size = ByteTokenizer::kSize;
  c.hidden = 32;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn = 48;
  c.max_positions = 4096;
  c.has_tied_embeddings = true;
  return c;
}

inline model::LlamaWeights random_weights(const model::ModelConfig& c) {
  std::mt19937 rng(11);
  const auto ones = [](int64_t n) {
    Tensor t = Tensor::empty(Dtype::f32, {n});
    std::fill_n(t.data<float>(), n, 1.0f);
    return t;
  };
  model::LlamaWeights w;
  w.embedding = random_tensor({c.vocab_size, c.hidden}, 0.5f, rng);
  w.lm_head = w.embedding;
  w.final_norm = ones(c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    model::LlamaLayerWeights l;
    l.attn_norm = ones(c.hidden);
    l.ffn_norm = ones(c.hidden);
    l.q = random_tensor({c.q_width(), c.hidden}, 0.3f, rng);
    l.k = random_tensor({c.kv_width(), c.hidden}, 0.3f, rng);
    l.v = random_tensor({c.kv_width(), c.hidden}, 0.3f, rng);
    l.o = random_tensor({c.hidden, c.q_width()}, 0.3f, rng);
    l.gate = random_tensor({c.ffn, c.hidden}, 0.3f, rng);
    l.up = random_tensor({c.ffn, c.hidden}, 0.3f, rng);
    l.down = random_tensor({c.hidden, c.ffn}, 0.3f, rng);
    w.layers.push_back(l);
  }
  return w;
}

// A context, a model and a tokenizer that live together.
struct TinyModel {
  backend::ThreadPool pool{2};
  backend::Arena arena;
  backend::ExecutionContext ctx{
      .backend = backend::best_cpu_backend(), .pool = &pool, .arena = &arena};
  ByteTokenizer tokenizer;
  model::Llama llama{ctx, tiny_config(), random_weights(tiny_config())};
  BaseModel base{llama, tokenizer, {.model = std::string(32, 'a'), .family = std::string(32, 'b')}};

  // A segment that begins `origin` bytes into its document.
  Segment segment(std::string_view text, uint64_t origin = 100) const {
    text::Encoding encoding = tokenizer.encode(text);
    Segment out{.document_id = "doc",
                .ordinal = 3,
                .span = {origin, origin + text.size()},
                .tokens = std::move(encoding.ids)};
    for (const ByteSpan& span : encoding.spans) {
      out.token_spans.push_back({origin + span.begin, origin + span.end});
    }
    return out;
  }
};

}  // namespace offbook::compress::testing_models
