// A Llama with made-up weights, small enough to write by hand in both formats; for tests.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "src/model/import/gguf_writer.h"
#include "src/model/import/rope_order.h"
#include "src/model/import/test_files.h"

namespace offbook::model {

struct TinyModel {
  static constexpr int64_t kVocab = 6, kHidden = 8, kLayers = 2, kHeads = 2, kKvHeads = 1,
                           kHeadDim = 4, kFfn = 16;

  static std::string config_json(const std::string& more = "") {
    return R"({"model_type": "llama", "vocab_size": 6, "hidden_size": 8, "num_hidden_layers": 2,
      "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16,
      "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0)" +
           (more.empty() ? "" : ", " + more) + "}";
  }

  // Hugging Face names; q and k in half-split order. No lm_head: tied by the file's own word.
  static std::map<std::string, Tensor> tensors() {
    std::map<std::string, Tensor> out;
    float start = 0;
    const auto add = [&](const std::string& name, Shape shape) {
      out[name] = counting_tensor(shape, start += 1000);
    };
    add("model.embed_tokens.weight", {kVocab, kHidden});
    add("model.norm.weight", {kHidden});
    for (int64_t i = 0; i < kLayers; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      add(layer + "input_layernorm.weight", {kHidden});
      add(layer + "self_attn.q_proj.weight", {kHeads * kHeadDim, kHidden});
      add(layer + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kHidden});
      add(layer + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kHidden});
      add(layer + "self_attn.o_proj.weight", {kHidden, kHeads * kHeadDim});
      add(layer + "post_attention_layernorm.weight", {kHidden});
      add(layer + "mlp.gate_proj.weight", {kFfn, kHidden});
      add(layer + "mlp.up_proj.weight", {kFfn, kHidden});
      add(layer + "mlp.down_proj.weight", {kHidden, kFfn});
    }
    return out;
  }

  static std::string gguf_name(std::string name) {
    static const std::pair<std::string, std::string> kParts[] = {
        {"model.embed_tokens", "token_embd"},
        {"model.norm", "output_norm"},
        {"model.layers.", "blk."},
        {"input_layernorm", "attn_norm"},
        {"self_attn.q_proj", "attn_q"},
        {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"},
        {"post_attention_layernorm", "ffn_norm"},
        {"mlp.gate_proj", "ffn_gate"},
        {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"}};
    for (const auto& [from, to] : kParts) {
      if (const size_t at = name.find(from); at != std::string::npos) {
        name.replace(at, from.size(), to);
      }
    }
    return name;
  }

  static void set_config(GgufWriter& out) {
    out.set_string("general.architecture", "llama");
    out.set_u32("llama.embedding_length", kHidden);
    out.set_u32("llama.block_count", kLayers);
    out.set_u32("llama.feed_forward_length", kFfn);
    out.set_u32("llama.context_length", 64);
    out.set_u32("llama.attention.head_count", kHeads);
    out.set_u32("llama.attention.head_count_kv", kKvHeads);
    out.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  }

  static void set_tokenizer(GgufWriter& out) {
    out.set_string("tokenizer.ggml.model", "gpt2");
    out.set_string("tokenizer.ggml.pre", "smollm");
    out.set_strings("tokenizer.ggml.tokens",
                    std::vector<std::string>{"<s>", "a", "b", "ab", "c", "abc"});
    out.set_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{3, 1, 1, 1, 1, 1});
    out.set_strings("tokenizer.ggml.merges", std::vector<std::string>{"a b", "ab c"});
    out.set_u32("tokenizer.ggml.bos_token_id", 0);
    out.set_bool("tokenizer.ggml.add_bos_token", true);
    out.set_string("tokenizer.chat_template", "{% for m in messages %}");
  }

  // As llama.cpp's converter lays a Llama out: q and k interleaved.
  static void add_tensors(GgufWriter& out) {
    for (const auto& [name, tensor] : tensors()) {
      const bool is_q = name.find("q_proj") != std::string::npos;
      const bool is_k = name.find("k_proj") != std::string::npos;
      out.add_tensor(gguf_name(name), is_q   ? interleaved_rows(tensor, kHeads)
                                      : is_k ? interleaved_rows(tensor, kKvHeads)
                                             : tensor);
    }
  }

  static std::vector<std::byte> gguf() {
    GgufWriter out;
    set_config(out);
    set_tokenizer(out);
    add_tensors(out);
    return out.bytes();
  }
};

inline bool equal_bytes(const Tensor& a, const Tensor& b) {
  return a.defined() && b.defined() && a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

}  // namespace offbook::model
