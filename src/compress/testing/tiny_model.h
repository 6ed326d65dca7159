// A decoder of random weights with a real tokeniser, small enough for unit tests.
#pragma once
#include <algorithm>
#include <memory>

#include "src/base/file_system.h"
#include "src/base/random.h"
#include "src/model/llama.h"
#include "src/text/tokenizer_json.h"

namespace offbook::compress::testing {

inline Tensor random_matrix(int64_t rows, int64_t columns, Random& random) {
  Tensor t = Tensor::empty(Dtype::f32, {rows, columns});
  std::generate_n(t.data<float>(), t.numel(),
                  [&] { return static_cast<float>(random.normal() * 0.3); });
  return t;
}

inline Tensor ones(int64_t n) {
  Tensor t = Tensor::empty(Dtype::f32, {n});
  std::fill_n(t.data<float>(), n, 1.0f);
  return t;
}

inline model::ModelConfig tiny_config(int32_t vocabulary) {
  model::ModelConfig c;
  c.architecture = model::Architecture::llama;
  c.vocab_size = vocabulary;
  c.hidden = 32;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn = 48;
  c.max_positions = 2048;
  c.has_tied_embeddings = true;
  return c;
}

inline model::LlamaWeights tiny_weights(const model::ModelConfig& c) {
  Random random(17);
  model::LlamaWeights w;
  w.embedding = random_matrix(c.vocab_size, c.hidden, random);
  w.lm_head = w.embedding;
  w.final_norm = ones(c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    model::LlamaLayerWeights l;
    l.attn_norm = ones(c.hidden);
    l.ffn_norm = ones(c.hidden);
    l.q = random_matrix(c.q_width(), c.hidden, random);
    l.k = random_matrix(c.kv_width(), c.hidden, random);
    l.v = random_matrix(c.kv_width(), c.hidden, random);
    l.o = random_matrix(c.hidden, c.q_width(), random);
    l.gate = random_matrix(c.ffn, c.hidden, random);
    l.up = random_matrix(c.ffn, c.hidden, random);
    l.down = random_matrix(c.hidden, c.ffn, random);
    w.layers.push_back(l);
  }
  return w;
}

// Tests run in the repository's root. `tokenizer`: a file of tests/golden/tokenizers.
struct TinyModel {
  explicit TinyModel(const std::string& name)
      : tokenizer(text::read_tokenizer_json(
            real_file_system().open("tests/golden/tokenizers/" + name)->bytes(), name)),
        llama(ctx, tiny_config(tokenizer->vocab_size()),
              tiny_weights(tiny_config(tokenizer->vocab_size()))) {}

  backend::ThreadPool pool{2};
  backend::Arena arena;
  backend::ExecutionContext ctx{
      .backend = backend::best_cpu_backend(), .pool = &pool, .arena = &arena};
  std::unique_ptr<text::Tokenizer> tokenizer;
  model::Llama llama;
};

}  // namespace offbook::compress::testing
