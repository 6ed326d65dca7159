#include "src/base/error.h"
#include "src/model/import/rope_order.h"
#include "src/model/import/tensor_reader.h"
#include "src/model/import/weights.h"

namespace offbook::model {
namespace {

enum class Width { none, hidden, q, kv, head, ffn };
enum class When { always, qkv_bias, o_bias, qk_norm };

struct LayerTensor {
  Tensor LlamaLayerWeights::*member;
  const char* gguf;          // in "blk.<n>.<gguf>"
  const char* hugging_face;  // in "model.layers.<n>.<hugging_face>"
  Width rows;
  Width columns = Width::none;  // none: a vector
  When when = When::always;
};

using L = LlamaLayerWeights;
constexpr LayerTensor kLayerTensors[] = {
    {&L::attn_norm, "attn_norm.weight", "input_layernorm.weight", Width::hidden},
    {&L::q, "attn_q.weight", "self_attn.q_proj.weight", Width::q, Width::hidden},
    {&L::k, "attn_k.weight", "self_attn.k_proj.weight", Width::kv, Width::hidden},
    {&L::v, "attn_v.weight", "self_attn.v_proj.weight", Width::kv, Width::hidden},
    {&L::o, "attn_output.weight", "self_attn.o_proj.weight", Width::hidden, Width::q},
    {&L::q_bias, "attn_q.bias", "self_attn.q_proj.bias", Width::q, Width::none, When::qkv_bias},
    {&L::k_bias, "attn_k.bias", "self_attn.k_proj.bias", Width::kv, Width::none, When::qkv_bias},
    {&L::v_bias, "attn_v.bias", "self_attn.v_proj.bias", Width::kv, Width::none, When::qkv_bias},
    {&L::o_bias, "attn_output.bias", "self_attn.o_proj.bias", Width::hidden, Width::none,
     When::o_bias},
    {&L::q_norm, "attn_q_norm.weight", "self_attn.q_norm.weight", Width::head, Width::none,
     When::qk_norm},
    {&L::k_norm, "attn_k_norm.weight", "self_attn.k_norm.weight", Width::head, Width::none,
     When::qk_norm},
    {&L::ffn_norm, "ffn_norm.weight", "post_attention_layernorm.weight", Width::hidden},
    {&L::gate, "ffn_gate.weight", "mlp.gate_proj.weight", Width::ffn, Width::hidden},
    {&L::up, "ffn_up.weight", "mlp.up_proj.weight", Width::ffn, Width::hidden},
    {&L::down, "ffn_down.weight", "mlp.down_proj.weight", Width::hidden, Width::ffn},
};

int64_t width(const ModelConfig& config, Width which) {
  switch (which) {
    case Width::hidden:
      return config.hidden;
    case Width::q:
      return config.q_width();
    case Width::kv:
      return config.kv_width();
    case Width::head:
      return config.head_dim;
    case Width::ffn:
      return config.ffn;
    default:
      return 0;
  }
}

bool is_present(const ModelConfig& config, When when) {
  switch (when) {
    case When::qkv_bias:
      return config.has_qkv_bias;
    case When::o_bias:
      return config.has_o_bias;
    case When::qk_norm:
      return config.has_qk_norm;
    default:
      return true;
  }
}

// Where one format keeps what.
struct Names {
  std::string layer;  // "blk." or "model.layers."
  const char* LayerTensor::*in_layer;
  std::string embedding, final_norm, lm_head;
};

LlamaLayerWeights load_layer(const TensorReader& reader, const Names& names,
                             const ModelConfig& config, int64_t layer) {
  LlamaLayerWeights out;
  for (const LayerTensor& entry : kLayerTensors) {
    if (!is_present(config, entry.when)) {
      continue;
    }
    const std::string name = fmt::format("{}{}.{}", names.layer, layer, entry.*names.in_layer);
    const int64_t rows = width(config, entry.rows);
    out.*entry.member = entry.columns == Width::none
                            ? reader.vector(name, rows)
                            : reader.matrix(name, rows, width(config, entry.columns));
  }
  return out;
}

LlamaWeights load(const TensorReader& reader, const Names& names, const ModelConfig& config) {
  LlamaWeights out;
  out.embedding = reader.matrix(names.embedding, config.vocab_size, config.hidden);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    out.layers.push_back(load_layer(reader, names, config, layer));
  }
  out.final_norm = reader.vector(names.final_norm, config.hidden);
  out.lm_head = config.has_tied_embeddings
                    ? out.embedding
                    : reader.matrix(names.lm_head, config.vocab_size, config.hidden);
  return out;
}

}  // namespace

LlamaWeights load_llama_weights(const GgufFile& file, const ModelConfig& config) {
  const TensorReader reader{file.file(),
                            [&](const std::string& name) { return file.tensor(name); }};
  const Names names{"blk.", &LayerTensor::gguf, "token_embd.weight", "output_norm.weight",
                    "output.weight"};
  LlamaWeights out = load(reader, names, config);
  if (config.architecture == Architecture::llama || config.architecture == Architecture::mistral) {
    for (LlamaLayerWeights& layer : out.layers) {
      layer.q = half_split_rows(layer.q, config.heads);
      layer.k = half_split_rows(layer.k, config.kv_heads);
      if (config.has_qkv_bias) {
        layer.q_bias = half_split_rows(layer.q_bias, config.heads);
        layer.k_bias = half_split_rows(layer.k_bias, config.kv_heads);
      }
    }
  }
  return out;
}

LlamaWeights load_llama_weights(const SafetensorsModel& model, const ModelConfig& config) {
  const TensorReader reader{model.name(),
                            [&](const std::string& name) { return model.tensor(name); }};
  const Names names{"model.layers.", &LayerTensor::hugging_face, "model.embed_tokens.weight",
                    "model.norm.weight", "lm_head.weight"};
  return load(reader, names, config);
}

LlamaWeights load_llama_weights(const ModelFiles& files) {
  return files.gguf ? load_llama_weights(*files.gguf, files.config)
                    : load_llama_weights(*files.safetensors, files.config);
}

ModelFiles open_model(FileSystem& fs, const std::filesystem::path& path) {
  const auto info = fs.stat(path);
  OB_REQUIRE(info.has_value(), NotFound, "model {}: no such file or directory", path.string());
  ModelFiles out{.path = path};
  if (info->is_directory && fs.stat(path / "config.json")) {
    out.config = read_model_config(fs, path);
    out.safetensors = SafetensorsModel::open(fs, path);
    return out;
  }
  if (info->is_directory) {
    auto names = fs.list(path);
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".gguf"); });
    OB_REQUIRE(
        names.size() == 1, NotFound,
        "model {}: wanted config.json with safetensors, or one .gguf file; found {} .gguf files",
        path.string(), names.size());
    out.path /= names[0];
  }
  out.gguf = GgufFile::open(fs, out.path);
  out.config = model_config_of_gguf(*out.gguf);
  return out;
}

}  // namespace offbook::model
