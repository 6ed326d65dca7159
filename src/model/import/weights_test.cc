#include "src/model/import/weights.h"

#include "src/base/file_system_memory.h"
#include "src/model/import/tensor_reader.h"
#include "src/model/import/tiny_model.h"

namespace offbook::model {
namespace {

class WeightsTest : public testing::Test {
 protected:
  void SetUp() override { fs_.create_directories("m"); }
  void put(const std::string& path, std::span<const std::byte> bytes) {
    write_file_atomically(fs_, path, bytes);
  }
  void put_directory(const std::map<std::string, Tensor>& tensors, const std::string& config) {
    put("m/model.safetensors", write_safetensors(tensors));
    put("m/config.json", std::as_bytes(std::span(config)));
  }
  MemoryFileSystem fs_;
};

TEST_F(WeightsTest, BothFormatsGiveTheSameTensors) {
  put("tiny.gguf", TinyModel::gguf());
  put_directory(TinyModel::tensors(), TinyModel::config_json("\"tie_word_embeddings\": true"));
  const ModelFiles gguf = open_model(fs_, "tiny.gguf");
  const ModelFiles hugging_face = open_model(fs_, "m");
  const LlamaWeights a = load_llama_weights(gguf);
  const LlamaWeights b = load_llama_weights(hugging_face);
  ASSERT_EQ(a.layers.size(), 2u);
  EXPECT_TRUE(equal_bytes(a.embedding, b.embedding));
  EXPECT_TRUE(equal_bytes(a.final_norm, b.final_norm));
  EXPECT_EQ(a.lm_head.raw(), a.embedding.raw());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    for (const auto member :
         {&LlamaLayerWeights::attn_norm, &LlamaLayerWeights::q, &LlamaLayerWeights::k,
          &LlamaLayerWeights::v, &LlamaLayerWeights::o, &LlamaLayerWeights::ffn_norm,
          &LlamaLayerWeights::gate, &LlamaLayerWeights::up, &LlamaLayerWeights::down}) {
      EXPECT_TRUE(equal_bytes(a.layers[i].*member, b.layers[i].*member));
    }
    EXPECT_FALSE(a.layers[i].q_bias.defined());
    EXPECT_FALSE(a.layers[i].q_norm.defined());
  }
}

TEST_F(WeightsTest, QwenBiasesNormsAndUntiedHead) {
  auto tensors = TinyModel::tensors();
  for (int i = 0; i < 2; ++i) {
    const std::string attention = fmt::format("model.layers.{}.self_attn.", i);
    tensors[attention + "q_norm.weight"] = counting_tensor({4}, 1);
    tensors[attention + "k_norm.weight"] = counting_tensor({4}, 2);
  }
  tensors["lm_head.weight"] = counting_tensor({6, 8}, 5);
  std::string config = TinyModel::config_json();
  config.replace(config.find("llama"), 5, "qwen3");
  put_directory(tensors, config);
  const LlamaWeights weights = load_llama_weights(open_model(fs_, "m"));
  EXPECT_EQ(weights.layers[1].k_norm.data<float>()[0], 2);
  EXPECT_EQ(weights.lm_head.data<float>()[0], 5);
}

TEST_F(WeightsTest, ShapesAreHeldAgainstTheConfiguration) {
  auto tensors = TinyModel::tensors();
  tensors["model.layers.1.mlp.up_proj.weight"] = counting_tensor({8, 16});
  put_directory(tensors, TinyModel::config_json("\"tie_word_embeddings\": true"));
  const auto load = [&] { load_llama_weights(open_model(fs_, "m")); };
  expect_error(
      ErrorCode::Corrupt,
      "tensor model.layers.1.mlp.up_proj.weight: shape [8, 16], the configuration wants [16, 8]",
      load);
  tensors["model.layers.1.mlp.up_proj.weight"] = Tensor::zeros(Dtype::i32, {16, 8});
  put_directory(tensors, TinyModel::config_json("\"tie_word_embeddings\": true"));
  expect_error(ErrorCode::Unsupported, "i32 is no weight type", load);
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  put_directory(tensors, TinyModel::config_json("\"tie_word_embeddings\": true"));
  expect_error(ErrorCode::NotFound, "tensor model.layers.1.mlp.up_proj.weight is missing", load);
}

TEST_F(WeightsTest, WhereAModelIsLookedFor) {
  expect_error(ErrorCode::NotFound, "model gone: no such", [&] { open_model(fs_, "gone"); });
  expect_error(ErrorCode::NotFound, "found 0 .gguf files", [&] { open_model(fs_, "m"); });
  put("m/a.gguf", TinyModel::gguf());
  EXPECT_EQ(open_model(fs_, "m").path, "m/a.gguf");
  put("m/b.gguf", TinyModel::gguf());
  expect_error(ErrorCode::NotFound, "found 2 .gguf files", [&] { open_model(fs_, "m"); });
}

TEST(RopeOrder, PairsComeApartAndGoBack) {
  const Tensor rows = counting_tensor({8, 1});  // two heads of four
  const Tensor split = half_split_rows(rows, 2);
  EXPECT_THAT(std::vector<float>(split.data<float>(), split.data<float>() + 8),
              testing::ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_TRUE(equal_bytes(interleaved_rows(split, 2), rows));
  expect_error(ErrorCode::InvalidArgument, "do not divide", [&] { half_split_rows(rows, 3); });
}

TEST(RopeOrder, QuantisedRowsMoveWhole) {
  Tensor rows = Tensor::zeros(Dtype::q4_1, {4, 64});
  for (int i = 0; i < 4; ++i) {
    *rows.row_raw(i) = static_cast<std::byte>(i);
  }
  const Tensor split = half_split_rows(rows, 1);
  EXPECT_EQ(*split.row_raw(1), std::byte{2});
  EXPECT_EQ(*split.row_raw(2), std::byte{1});
}

TEST(TensorReader, HalfFloatsBecomeF32) {
  Tensor half = Tensor::zeros(Dtype::f16, {1});
  half.data<uint16_t>()[0] = 0x3e00;
  EXPECT_EQ(to_f32(half, "t").data<float>()[0], 1.5f);
  Tensor brain = Tensor::zeros(Dtype::bf16, {1});
  brain.data<uint16_t>()[0] = 0x3fc0;
  EXPECT_EQ(to_f32(brain, "t").data<float>()[0], 1.5f);
  expect_error(ErrorCode::Unsupported, "wanted f32",
               [] { to_f32(Tensor::zeros(Dtype::i8, {1}), "t"); });
}

TEST_F(WeightsTest, BertNamesWithAndWithoutPrefix) {
  const EncoderConfig config{.vocab_size = 5,
                             .hidden = 4,
                             .layers = 1,
                             .heads = 2,
                             .ffn = 8,
                             .max_positions = 6,
                             .token_types = 2};
  std::map<std::string, Tensor> plain = {
      {"embeddings.word_embeddings.weight", counting_tensor({5, 4}, 1)},
      {"embeddings.position_embeddings.weight", counting_tensor({6, 4}, 2)},
      {"embeddings.token_type_embeddings.weight", counting_tensor({2, 4}, 3)}};
  const auto add = [&](const std::string& name, Shape weight) {
    plain[name + ".weight"] = counting_tensor(weight);
    plain[name + ".bias"] = counting_tensor({weight[0]});
  };
  add("embeddings.LayerNorm", {4});
  for (const char* name : {"attention.self.query", "attention.self.key", "attention.self.value",
                           "attention.output.dense"}) {
    add(std::string("encoder.layer.0.") + name, {4, 4});
  }
  add("encoder.layer.0.attention.output.LayerNorm", {4});
  add("encoder.layer.0.intermediate.dense", {8, 4});
  add("encoder.layer.0.output.dense", {4, 8});
  add("encoder.layer.0.output.LayerNorm", {4});
  std::map<std::string, Tensor> prefixed;
  for (const auto& [name, tensor] : plain) {
    prefixed["bert." + name] = tensor;
  }
  for (const auto& tensors : {plain, prefixed}) {
    put("m/model.safetensors", write_safetensors(tensors));
    const BertWeights weights = load_bert_weights(*SafetensorsModel::open(fs_, "m"), config);
    EXPECT_EQ(weights.position_embedding.data<float>()[0], 2);
    EXPECT_EQ(to_string(weights.layers.at(0).down), "f32 [4, 8]");
  }
}

}  // namespace
}  // namespace offbook::model
