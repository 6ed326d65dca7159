// A tiny random language model with a real tokeniser, for tests of this folder.
#pragma once
#include <fstream>
#include <random>
#include <sstream>

#include "src/model/language_model.h"
#include "src/store/store_testing.h"

namespace offbook::learn {

inline Tensor random_matrix(const Shape& shape, float scale, std::mt19937& rng) {
  const Tensor t = Tensor::empty(Dtype::f32, shape);
  std::normal_distribution<float> normal(0, scale);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] = normal(rng);
  }
  return t;
}

// A Hugging Face directory: two Llama layers over the tokeniser of tests/golden, whose two control
// tokens are renamed to ChatML's.
inline void write_tiny_model(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  std::ifstream in("tests/golden/tokenizers/smollm.json");
  std::stringstream text;
  text << in.rdbuf();
  std::string tokenizer = text.str();
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"<|begin|>", "<|im_start|>"},
                                 {"<|end|>", "<|im_end|>"}}) {
    for (size_t at; (at = tokenizer.find(from)) != std::string::npos;) {
      tokenizer.replace(at, from.size(), to);
    }
  }
  std::ofstream(directory / "tokenizer.json") << tokenizer;
  std::ofstream(directory / "tokenizer_config.json")
      << R"({"eos_token": "<|im_end|>", "tokenizer_class": "GPT2Tokenizer"})";
  constexpr int64_t kVocab = 1200, kHidden = 32, kFfn = 48, kLayers = 2;
  std::ofstream(directory / "config.json")
      << nlohmann::json{{"architectures", {"LlamaForCausalLM"}},
                        {"model_type", "llama"},
                        {"vocab_size", kVocab},
                        {"hidden_size", kHidden},
                        {"intermediate_size", kFfn},
                        {"num_hidden_layers", kLayers},
                        {"num_attention_heads", 4},
                        {"num_key_value_heads", 2},
                        {"max_position_embeddings", 1024},
                        {"rms_norm_eps", 1e-5},
                        {"rope_theta", 10000.0},
                        {"hidden_act", "silu"},
                        {"tie_word_embeddings", true},
                        {"eos_token_id", 1}};
  std::mt19937 rng(5);
  std::map<std::string, Tensor> w{
      {"model.embed_tokens.weight", random_matrix({kVocab, kHidden}, 0.3f, rng)},
      {"model.norm.weight", random_matrix({kHidden}, 1, rng)}};
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const std::string name = fmt::format("model.layers.{}.", layer);
    const auto add = [&](const std::string& what, const Shape& shape) {
      w[name + what + ".weight"] = random_matrix(shape, shape.rank() == 1 ? 1.0f : 0.2f, rng);
    };
    add("input_layernorm", {kHidden});
    add("post_attention_layernorm", {kHidden});
    add("self_attn.q_proj", {kHidden, kHidden});
    add("self_attn.k_proj", {kHidden / 2, kHidden});
    add("self_attn.v_proj", {kHidden / 2, kHidden});
    add("self_attn.o_proj", {kHidden, kHidden});
    add("mlp.gate_proj", {kFfn, kHidden});
    add("mlp.up_proj", {kFfn, kHidden});
    add("mlp.down_proj", {kHidden, kFfn});
  }
  write_file_atomically(real_file_system(), directory / "model.safetensors",
                        model::write_safetensors(w));
}

}  // namespace offbook::learn
