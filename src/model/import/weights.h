// Weights of a model as tensors, whichever file they came from.
#pragma once
#include <filesystem>
#include <memory>
#include <vector>

#include "src/base/file_system.h"
#include "src/model/import/encoder_config.h"
#include "src/model/import/gguf.h"
#include "src/model/import/model_config.h"
#include "src/model/import/safetensors.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

// Matrices are [out, in] in the file's element type (f32, f16, bf16 or quantised), mapped where the
// order allows. Norms and biases are f32 copies. q and k rows are in half-split RoPE order. Tensors
// that the configuration does not have are undefined.
struct LlamaLayerWeights {
  Tensor attn_norm;                       // [hidden]
  Tensor q;                               // [heads × head_dim, hidden]
  Tensor k, v;                            // [kv_heads × head_dim, hidden]
  Tensor o;                               // [hidden, heads × head_dim]
  Tensor q_bias, k_bias, v_bias, o_bias;  // [out]
  Tensor q_norm, k_norm;                  // [head_dim]
  Tensor ffn_norm;                        // [hidden]
  Tensor gate, up;                        // [ffn, hidden]
  Tensor down;                            // [hidden, ffn]
};

struct LlamaWeights {
  Tensor embedding;  // [vocab, hidden]
  std::vector<LlamaLayerWeights> layers;
  Tensor final_norm;  // [hidden]
  Tensor lm_head;     // [vocab, hidden]; the embedding itself where they are tied
};

// Read-only: matrices lie in the mapping, which they keep alive. Errors: NotFound (a tensor is
// missing), Corrupt (a shape that the configuration contradicts), Unsupported (element type), with
// file and tensor. Cost: q and k of llama-architecture GGUF files are copied once (rows move from
// interleaved to half-split order); the rest is mapped.
LlamaWeights load_llama_weights(const GgufFile& file, const ModelConfig& config);
LlamaWeights load_llama_weights(const SafetensorsModel& model, const ModelConfig& config);

// A file or directory with a decoder, opened and its configuration read.
struct ModelFiles {
  std::filesystem::path path;
  std::shared_ptr<const GgufFile> gguf;  // one of these two
  std::shared_ptr<const SafetensorsModel> safetensors;
  ModelConfig config;
};

// `path`: a .gguf file, a directory with config.json and safetensors, or a directory with exactly
// one .gguf file. NotFound if it is none of them; errors of the readers.
ModelFiles open_model(FileSystem& fs, const std::filesystem::path& path);
LlamaWeights load_llama_weights(const ModelFiles& files);

// All f32 copies or views: [out, in] matrices as stored, vectors f32.
struct BertLayerWeights {
  Tensor q, k, v, o;                      // [hidden, hidden]
  Tensor q_bias, k_bias, v_bias, o_bias;  // [hidden]
  Tensor attn_norm, attn_norm_bias;       // [hidden]
  Tensor up, up_bias;                     // [ffn, hidden], [ffn]
  Tensor down, down_bias;                 // [hidden, ffn], [hidden]
  Tensor ffn_norm, ffn_norm_bias;         // [hidden]
};

struct BertWeights {
  Tensor word_embedding;      // [vocab, hidden]
  Tensor position_embedding;  // [max_positions, hidden]
  Tensor type_embedding;      // [token_types, hidden]
  Tensor embedding_norm, embedding_norm_bias;
  std::vector<BertLayerWeights> layers;
};

// Names as Hugging Face stores BertModel, with or without "bert." in front. Errors as above.
BertWeights load_bert_weights(const SafetensorsModel& model, const EncoderConfig& config);

}  // namespace offbook::model
