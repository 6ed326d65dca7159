#include "src/model/import/tensor_reader.h"
#include "src/model/import/weights.h"

namespace offbook::model {
namespace {

// "<name>.weight" [out, in] and "<name>.bias" [out].
void load_linear(const TensorReader& reader, const std::string& name, Tensor& weight, Tensor& bias,
                 int64_t out, int64_t in) {
  weight = reader.matrix(name + ".weight", out, in);
  bias = reader.vector(name + ".bias", out);
}

void load_norm(const TensorReader& reader, const std::string& name, Tensor& weight, Tensor& bias,
               int64_t size) {
  weight = reader.vector(name + ".weight", size);
  bias = reader.vector(name + ".bias", size);
}

BertLayerWeights load_layer(const TensorReader& reader, const std::string& prefix,
                            const EncoderConfig& config) {
  BertLayerWeights w;
  const int64_t hidden = config.hidden;
  load_linear(reader, prefix + "attention.self.query", w.q, w.q_bias, hidden, hidden);
  load_linear(reader, prefix + "attention.self.key", w.k, w.k_bias, hidden, hidden);
  load_linear(reader, prefix + "attention.self.value", w.v, w.v_bias, hidden, hidden);
  load_linear(reader, prefix + "attention.output.dense", w.o, w.o_bias, hidden, hidden);
  load_norm(reader, prefix + "attention.output.LayerNorm", w.attn_norm, w.attn_norm_bias, hidden);
  load_linear(reader, prefix + "intermediate.dense", w.up, w.up_bias, config.ffn, hidden);
  load_linear(reader, prefix + "output.dense", w.down, w.down_bias, hidden, config.ffn);
  load_norm(reader, prefix + "output.LayerNorm", w.ffn_norm, w.ffn_norm_bias, hidden);
  return w;
}

}  // namespace

BertWeights load_bert_weights(const SafetensorsModel& model, const EncoderConfig& config) {
  const std::string prefix = model.has("bert.embeddings.word_embeddings.weight") ? "bert." : "";
  const TensorReader reader{model.name(),
                            [&](const std::string& name) { return model.tensor(prefix + name); }};
  BertWeights out;
  const auto table = [&](const char* kind, int64_t rows) {
    return reader.matrix(fmt::format("embeddings.{}_embeddings.weight", kind), rows, config.hidden);
  };
  out.word_embedding = table("word", config.vocab_size);
  out.position_embedding = table("position", config.max_positions);
  out.type_embedding = table("token_type", config.token_types);
  load_norm(reader, "embeddings.LayerNorm", out.embedding_norm, out.embedding_norm_bias,
            config.hidden);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    out.layers.push_back(load_layer(reader, fmt::format("encoder.layer.{}.", layer), config));
  }
  return out;
}

}  // namespace offbook::model
