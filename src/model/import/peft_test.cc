#include <limits>

#include "src/base/file_system_memory.h"
#include "src/model/import/lora_adapter.h"
#include "src/model/import/rope_order.h"
#include "src/model/import/tiny_model.h"

namespace offbook::model {
namespace {

ModelConfig tiny_config() {
  const auto json = nlohmann::json::parse(TinyModel::config_json());
  return model_config_of_json(JsonFields(json, "config.json"));
}

LoraAdapter sample() {
  LoraAdapter out{
      .rank = 2, .alpha = 16, .base = {.model = "m", .family = "f"}, .base_name = "tiny"};
  out.layers.resize(2);
  float start = 0;
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (const auto target : {LoraTarget::q, LoraTarget::v, LoraTarget::down}) {
      const Shape base = target_shape(tiny_config(), target);
      out.pair(layer, target) = {counting_tensor({2, base[1]}, start += 100),
                                 counting_tensor({base[0], 2}, start += 100)};
    }
  }
  return out;
}

std::string config(const nlohmann::json& change = nlohmann::json::object()) {
  nlohmann::json json = {{"peft_type", "LORA"}, {"r", 2},
                         {"lora_alpha", 16},    {"rank_pattern", nlohmann::json::object()},
                         {"bias", "none"},      {"modules_to_save", nullptr}};
  json.update(change);
  return json.dump();
}

LoraAdapter parse(const std::string& config, const std::map<std::string, Tensor>& tensors) {
  auto owned = copy_bytes(write_safetensors(tensors));
  const auto json = nlohmann::json::parse(config);
  return parse_peft(
      JsonFields(json, "adapter_config.json"),
      *SafetensorsFile::parse({owned->data(), owned->bytes()}, "a.safetensors", owned));
}

const std::string kName = "base_model.model.model.layers.0.self_attn.q_proj.lora_";

std::map<std::string, Tensor> one_pair() {
  return {{kName + "A.weight", counting_tensor({2, 8})},
          {kName + "B.weight", counting_tensor({8, 2})}};
}

TEST(Peft, WrittenAdaptersComeBack) {
  MemoryFileSystem fs;
  write_peft(fs, "/a", sample());
  const LoraAdapter back = read_peft(fs, "/a");
  EXPECT_EQ(back.rank, 2);
  EXPECT_EQ(back.alpha, 16);
  EXPECT_EQ(back.scale(), 8);
  EXPECT_EQ(back.base, (Fingerprint{"m", "f"}));
  EXPECT_EQ(back.base_name, "tiny");
  ASSERT_EQ(back.layers.size(), 2u);
  const LoraAdapter wanted = sample();
  EXPECT_TRUE(equal_bytes(back.pair(1, LoraTarget::down).a, wanted.pair(1, LoraTarget::down).a));
  EXPECT_TRUE(equal_bytes(back.pair(0, LoraTarget::q).b, wanted.pair(0, LoraTarget::q).b));
  EXPECT_FALSE(back.pair(0, LoraTarget::k).a.defined());
  EXPECT_NO_THROW(check_fits(back, tiny_config(), "adapter"));
}

// Saved by PEFT 0.21 (tools/golden/peft_adapter.py): the n-th tensor counts up from 100 n.
TEST(Peft, ReadsWhatPeftSaves) {
  const LoraAdapter adapter = read_peft(real_file_system(), "tests/golden/peft_tiny");
  EXPECT_EQ(adapter.scale(), 8);
  ASSERT_EQ(adapter.layers.size(), 2u);
  EXPECT_TRUE(equal_bytes(adapter.pair(0, LoraTarget::q).a, counting_tensor({2, 8}, 0)));
  EXPECT_TRUE(equal_bytes(adapter.pair(0, LoraTarget::v).b, counting_tensor({4, 2}, 300)));
  EXPECT_TRUE(equal_bytes(adapter.pair(1, LoraTarget::down).a, counting_tensor({2, 16}, 1000)));
  EXPECT_NO_THROW(check_fits(adapter, tiny_config(), "adapter"));
}

TEST(Peft, RankStabilisedScaleIsFoldedIntoAlpha) {
  EXPECT_FLOAT_EQ(parse(config({{"use_rslora", true}}), one_pair()).scale(), 16 / std::sqrt(2.0f));
}

TEST(Peft, HalfPrecisionBecomesF32) {
  auto tensors = one_pair();
  tensors[kName + "A.weight"] = Tensor::zeros(Dtype::bf16, {2, 8});
  EXPECT_EQ(parse(config(), tensors).pair(0, LoraTarget::q).a.dtype(), Dtype::f32);
}

TEST(Peft, WhatIsNotReadIsNamed) {
  const auto refused = [](const nlohmann::json& change, const std::string& message) {
    expect_error(ErrorCode::Unsupported, message, [&] { parse(config(change), one_pair()); });
  };
  refused({{"peft_type", "IA3"}}, "field peft_type: IA3 is not read");
  refused({{"rank_pattern", {{"q_proj", 4}}}}, "field rank_pattern is set");
  refused({{"alpha_pattern", {{"q_proj", 4}}}}, "field alpha_pattern is set");
  refused({{"use_dora", true}}, "field use_dora is set");
  refused({{"bias", "all"}}, "field bias is set");
  refused({{"modules_to_save", {"lm_head"}}}, "field modules_to_save is set");
  refused({{"init_lora_weights", "pissa"}}, "field init_lora_weights");
}

TEST(Peft, LyingTensors) {
  const auto with = [](const std::string& name, const Tensor& tensor) {
    auto tensors = one_pair();
    tensors[name] = tensor;
    return [tensors] { parse(config(), tensors); };
  };
  const Tensor a = counting_tensor({2, 8});
  for (const char* name : {"base_model.model.lm_head.lora_A.weight",
                           "base_model.model.model.layers.-1.mlp.up_proj.lora_A.weight",
                           "base_model.model.model.layers.99999.mlp.up_proj.lora_A.weight",
                           "base_model.model.model.layers.00.mlp.up_proj.lora_A.weight",
                           "base_model.model.model.layers.0.mlp.q_proj.lora_A.weight", "layers."}) {
    expect_error(ErrorCode::Unsupported, name, with(name, a));
  }
  expect_error(ErrorCode::Corrupt, "layer 1 up_proj: lora_B is missing",
               with("base_model.model.model.layers.1.mlp.up_proj.lora_A.weight", a));
  expect_error(ErrorCode::Corrupt, "wanted axis 0 to be the rank 2",
               with(kName + "A.weight", counting_tensor({3, 8})));
  expect_error(ErrorCode::Corrupt, "wanted axis 1 to be the rank 2",
               with(kName + "B.weight", counting_tensor({8})));
  Tensor broken = counting_tensor({2, 8});
  broken.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorCode::Corrupt, "element 3 is not a finite number",
               with(kName + "A.weight", broken));
  expect_error(ErrorCode::Corrupt, "a second tensor",
               with("base_model.model.layers.0.self_attn.q_proj.lora_A.weight", a));
  expect_error(ErrorCode::Corrupt, "field r: wanted a number from 1", [] {
    parse(config({{"r", 0}}), one_pair());
  });
  expect_error(ErrorCode::Corrupt, "holds no adapter tensor", [] { parse(config(), {}); });
}

TEST(Peft, AdapterOfAnotherModel) {
  ModelConfig other = tiny_config();
  other.layers = 1;
  expect_error(ErrorCode::InvalidArgument, "an adapter of 2 layers for a model of 1",
               [&] { check_fits(sample(), other, "adapter a"); });
  other.layers = 2;
  other.ffn = 12;
  expect_error(ErrorCode::InvalidArgument,
               "layer 0 down_proj: the adapter is for [8, 16], the model has [8, 12]",
               [&] { check_fits(sample(), other, "adapter a"); });
}

TEST(LoraGguf, LayoutOfLlamaCpp) {
  const LoraAdapter adapter = sample();
  const auto file = parse_gguf(lora_gguf(adapter, tiny_config()));
  EXPECT_EQ(file->get_string("general.type"), "adapter");
  EXPECT_EQ(file->get_string("adapter.type"), "lora");
  EXPECT_EQ(file->get_string("general.architecture"), "llama");
  EXPECT_EQ(file->get_float("adapter.lora.alpha"), 16);
  EXPECT_EQ(file->tensors().size(), 12u);
  EXPECT_TRUE(
      equal_bytes(file->tensor("blk.1.attn_q.weight.lora_a"), adapter.pair(1, LoraTarget::q).a));
  EXPECT_TRUE(equal_bytes(half_split_rows(file->tensor("blk.1.attn_q.weight.lora_b"), 2),
                          adapter.pair(1, LoraTarget::q).b));
  EXPECT_FALSE(
      equal_bytes(file->tensor("blk.1.attn_q.weight.lora_b"), adapter.pair(1, LoraTarget::q).b));
  EXPECT_TRUE(equal_bytes(file->tensor("blk.0.ffn_down.weight.lora_b"),
                          adapter.pair(0, LoraTarget::down).b));
}

TEST(LoraGguf, QwenRowsStayAndMistralIsLlama) {
  ModelConfig config = tiny_config();
  config.architecture = Architecture::qwen2;
  auto file = parse_gguf(lora_gguf(sample(), config));
  EXPECT_EQ(file->get_string("general.architecture"), "qwen2");
  EXPECT_TRUE(
      equal_bytes(file->tensor("blk.0.attn_q.weight.lora_b"), sample().pair(0, LoraTarget::q).b));
  config.architecture = Architecture::mistral;
  file = parse_gguf(lora_gguf(sample(), config));
  EXPECT_EQ(file->get_string("general.architecture"), "llama");
}

}  // namespace
}  // namespace offbook::model
