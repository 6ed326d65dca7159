#include "src/model/import/model_config.h"

#include "src/model/import/encoder_config.h"
#include "src/model/import/tiny_model.h"

namespace offbook::model {
namespace {

ModelConfig of_json(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  return model_config_of_json(JsonFields(json, "config.json"));
}

// The tiny model's metadata with changes of `change`, which come first and win.
ModelConfig of_gguf(const std::function<void(GgufWriter&)>& change = [](GgufWriter&) {}) {
  GgufWriter out;
  TinyModel::set_config(out);
  change(out);
  TinyModel::add_tensors(out);
  return model_config_of_gguf(*parse_gguf(out.bytes()));
}

TEST(ModelConfig, BothFormatsOfOneModelAgree) {
  const ModelConfig json = of_json(TinyModel::config_json("\"tie_word_embeddings\": true"));
  for (const ModelConfig& c : {json, of_gguf()}) {
    EXPECT_EQ(c.architecture, Architecture::llama);
    EXPECT_EQ(c.vocab_size, 6);
    EXPECT_EQ(c.hidden, 8);
    EXPECT_EQ(c.layers, 2);
    EXPECT_EQ(c.heads, 2);
    EXPECT_EQ(c.kv_heads, 1);
    EXPECT_EQ(c.head_dim, 4);
    EXPECT_EQ(c.ffn, 16);
    EXPECT_EQ(c.max_positions, 64);
    EXPECT_EQ(c.rms_eps, 1e-5f);
    EXPECT_EQ(c.rope_theta, 10'000);
    EXPECT_TRUE(c.has_tied_embeddings);
    EXPECT_FALSE(c.has_qkv_bias || c.has_o_bias || c.has_qk_norm);
    EXPECT_EQ(c.window(1), 0);
  }
}

TEST(ModelConfig, QwenFamilies) {
  auto base = nlohmann::json::parse(TinyModel::config_json());
  base["model_type"] = "qwen2";
  base["sliding_window"] = 32;
  base["max_window_layers"] = 1;
  ModelConfig c = of_json(base.dump());
  EXPECT_TRUE(c.has_qkv_bias);
  EXPECT_FALSE(c.has_o_bias);
  EXPECT_TRUE(c.layer_windows.empty());  // use_sliding_window is false unless said
  base["use_sliding_window"] = true;
  EXPECT_THAT(of_json(base.dump()).layer_windows, testing::ElementsAre(0, 32));
  base["model_type"] = "qwen3";
  base["head_dim"] = 16;
  c = of_json(base.dump());
  EXPECT_TRUE(c.has_qk_norm);
  EXPECT_FALSE(c.has_qkv_bias);
  EXPECT_EQ(c.q_width(), 32);
}

TEST(ModelConfig, MistralWindow) {
  auto base = nlohmann::json::parse(TinyModel::config_json("\"sliding_window\": 16"));
  base["model_type"] = "mistral";
  EXPECT_THAT(of_json(base.dump()).layer_windows, testing::ElementsAre(16, 16));
  base["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_THAT(of_json(base.dump()).layer_windows, testing::ElementsAre(0, 16));
  base["layer_types"] = {"full_attention"};
  expect_error(ErrorCode::Corrupt, "sliding windows of 1 layers, wanted 2",
               [&] { of_json(base.dump()); });
  EXPECT_THAT(
      of_gguf([](GgufWriter& w) { w.set_u32("llama.attention.sliding_window", 16); }).layer_windows,
      testing::ElementsAre(16, 16));
}

TEST(ModelConfig, RopeScalingFields) {
  const ModelConfig llama3 = of_json(TinyModel::config_json(
      R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32})"));
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScalingKind::llama3);
  EXPECT_EQ(llama3.rope_scaling.original_max_positions, 32);
  const ModelConfig parameters = of_json(TinyModel::config_json(
      R"("rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 500000})"));
  EXPECT_EQ(parameters.rope_theta, 500'000);
  EXPECT_EQ(parameters.rope_scaling.factor, 2);
  expect_error(ErrorCode::Unsupported, "rope scaling dynamic is not run", [] {
    of_json(TinyModel::config_json(R"("rope_scaling": {"type": "dynamic", "factor": 2})"));
  });
  expect_error(ErrorCode::Corrupt, "field factor is missing",
               [] { of_json(TinyModel::config_json(R"("rope_scaling": {"type": "linear"})")); });
}

TEST(ModelConfig, GgufScalingAndDivisors) {
  const ModelConfig yarn = of_gguf([](GgufWriter& w) {
    w.set_string("llama.rope.scaling.type", "yarn");
    w.set_f32("llama.rope.scaling.factor", 4);
    w.set_u32("llama.rope.scaling.original_context_length", 16);
  });
  EXPECT_EQ(yarn.rope_scaling.kind, RopeScalingKind::yarn);
  EXPECT_NEAR(yarn.rope_scaling.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  const ModelConfig llama3 =
      of_gguf([](GgufWriter& w) { w.add_tensor("rope_freqs.weight", counting_tensor({2}, 1)); });
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScalingKind::llama3);
  EXPECT_THAT(rope_frequencies(llama3).inv_freq,
              testing::ElementsAre(testing::FloatEq(1), testing::FloatEq(0.01f / 2)));
  expect_error(ErrorCode::Corrupt, "3 rope frequency divisors, wanted 2", [] {
    of_gguf([](GgufWriter& w) { w.add_tensor("rope_freqs.weight", counting_tensor({3}, 1)); });
  });
  expect_error(ErrorCode::Corrupt, "rope frequency divisor is 0", [] {
    of_gguf([](GgufWriter& w) { w.add_tensor("rope_freqs.weight", counting_tensor({2}, 0)); });
  });
}

// Values of transformers' ROPE_INIT_FUNCTIONS for Llama-3.1-8B's head and scaling.
TEST(RopeFrequencies, Llama3AndYarnFollowTheReference) {
  ModelConfig c;
  c.head_dim = 128;
  c.rope_theta = 500'000;
  c.rope_scaling = {.kind = RopeScalingKind::llama3, .factor = 8, .original_max_positions = 8'192};
  auto f = rope_frequencies(c);
  ASSERT_EQ(f.inv_freq.size(), 64u);
  EXPECT_EQ(f.scale, 1);
  EXPECT_FLOAT_EQ(f.inv_freq[0], 1.f);
  EXPECT_FLOAT_EQ(f.inv_freq[32], 0.000524846022f);
  EXPECT_FLOAT_EQ(f.inv_freq[63], 3.06892588e-07f);
  c.rope_scaling = {.kind = RopeScalingKind::yarn,
                    .factor = 4,
                    .original_max_positions = 8'192,
                    .attention_factor = 0.1 * std::log(4.0) + 1};
  f = rope_frequencies(c);
  EXPECT_FLOAT_EQ(f.scale, 1.13862944f);
  EXPECT_FLOAT_EQ(f.inv_freq[0], 1.f);
  EXPECT_FLOAT_EQ(f.inv_freq[24], 0.00536225364f);
  EXPECT_FLOAT_EQ(f.inv_freq[63], 6.13785176e-07f);
}

TEST(ModelConfig, ImpossibleValuesAreNamed) {
  const auto with = [](const std::string& key, const nlohmann::json& value) {
    auto base = nlohmann::json::parse(TinyModel::config_json());
    base[key] = value;
    return [text = base.dump()] { of_json(text); };
  };
  expect_error(ErrorCode::Corrupt, "layer count is 5000, wanted 1 to 1024",
               with("num_hidden_layers", 5000));
  expect_error(ErrorCode::Corrupt, "field num_hidden_layers: wanted a number from 1",
               with("num_hidden_layers", -1));
  expect_error(ErrorCode::Corrupt, "field num_attention_heads", with("num_attention_heads", 0));
  expect_error(ErrorCode::Corrupt, "3 heads do not divide among 2", [] {
    auto base = nlohmann::json::parse(TinyModel::config_json());
    base["num_attention_heads"] = 3;
    base["num_key_value_heads"] = 2;
    of_json(base.dump());
  });
  expect_error(ErrorCode::Corrupt, "head dimension 5 is odd", with("head_dim", 5));
  expect_error(ErrorCode::Corrupt, "kv head count is 4", with("num_key_value_heads", 4));
  expect_error(ErrorCode::Corrupt, "rope theta", with("rope_theta", 0));
  expect_error(ErrorCode::Corrupt, "wanted a number", with("vocab_size", "6"));
  expect_error(ErrorCode::Unsupported, "model_type: gpt_neox is not run",
               with("model_type", "gpt_neox"));
  expect_error(ErrorCode::Unsupported, "hidden_act: gelu", with("hidden_act", "gelu"));
  expect_error(ErrorCode::Unsupported, "mlp_bias", with("mlp_bias", true));
  expect_error(ErrorCode::Unsupported, "quantization_config",
               with("quantization_config", nlohmann::json::object()));
}

TEST(ModelConfig, GgufRefusals) {
  expect_error(ErrorCode::Unsupported, "8 experts",
               [] { of_gguf([](GgufWriter& w) { w.set_u32("llama.expert_count", 8); }); });
  expect_error(ErrorCode::Unsupported, "one of 3 parts",
               [] { of_gguf([](GgufWriter& w) { w.set_u32("split.count", 3); }); });
  expect_error(ErrorCode::Unsupported, "is 2 of 4; partial rotation",
               [] { of_gguf([](GgufWriter& w) { w.set_u32("llama.rope.dimension_count", 2); }); });
  GgufWriter other;
  other.set_string("general.architecture", "mamba");
  expect_error(ErrorCode::Unsupported, "mamba is not run",
               [&] { model_config_of_gguf(*parse_gguf(other.bytes())); });
}

TEST(EncoderConfig, FieldsAndRefusals) {
  auto json = nlohmann::json::parse(R"({"model_type": "bert", "vocab_size": 10, "hidden_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32})");
  EXPECT_EQ(encoder_config_of_json(JsonFields(json, "c")).max_tokens, 32);
  json["num_attention_heads"] = 3;
  expect_error(ErrorCode::Corrupt, "does not divide among 3",
               [&] { encoder_config_of_json(JsonFields(json, "c")); });
  json["num_attention_heads"] = 2;
  json["hidden_act"] = "relu";
  expect_error(ErrorCode::Unsupported, "relu is not run",
               [&] { encoder_config_of_json(JsonFields(json, "c")); });
}

}  // namespace
}  // namespace offbook::model
