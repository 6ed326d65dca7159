#include "src/model/import/lora_adapter.h"

#include "src/base/error.h"
#include "src/model/import/gguf_writer.h"
#include "src/model/import/rope_order.h"

namespace offbook::model {
namespace {

constexpr std::string_view kGgufNames[kLoraTargets] = {
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

// Rows of B as llama.cpp's converter stores them for this model.
Tensor exported_b(const Tensor& b, LoraTarget target, const ModelConfig& config) {
  const bool is_interleaved =
      config.architecture == Architecture::llama || config.architecture == Architecture::mistral;
  if (is_interleaved && target == LoraTarget::q) {
    return interleaved_rows(b, config.heads);
  }
  return is_interleaved && target == LoraTarget::k ? interleaved_rows(b, config.kv_heads) : b;
}

std::string_view gguf_architecture(Architecture architecture) {
  return architecture == Architecture::mistral ? to_string(Architecture::llama)
                                               : to_string(architecture);
}

}  // namespace

std::string_view to_string(LoraTarget target) noexcept {
  constexpr std::string_view kNames[kLoraTargets] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                     "gate_proj", "up_proj", "down_proj"};
  return kNames[static_cast<size_t>(target)];
}

Shape target_shape(const ModelConfig& config, LoraTarget target) {
  switch (target) {
    case LoraTarget::q:
      return {config.q_width(), config.hidden};
    case LoraTarget::k:
    case LoraTarget::v:
      return {config.kv_width(), config.hidden};
    case LoraTarget::o:
      return {config.hidden, config.q_width()};
    case LoraTarget::down:
      return {config.hidden, config.ffn};
    default:
      return {config.ffn, config.hidden};
  }
}

void check_fits(const LoraAdapter& adapter, const ModelConfig& config, const std::string& what) {
  OB_REQUIRE(static_cast<int64_t>(adapter.layers.size()) <= config.layers, InvalidArgument,
             "{}: an adapter of {} layers for a model of {}", what, adapter.layers.size(),
             config.layers);
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (int t = 0; t < kLoraTargets; ++t) {
      const LoraPair& pair = adapter.layers[layer][static_cast<size_t>(t)];
      const Shape base = target_shape(config, static_cast<LoraTarget>(t));
      OB_REQUIRE(!pair.a.defined() || (pair.a.dim(1) == base[1] && pair.b.dim(0) == base[0]),
                 InvalidArgument,
                 "{}: layer {} {}: the adapter is for [{}, {}], the model has {}: it belongs to "
                 "another model",
                 what, layer, to_string(static_cast<LoraTarget>(t)), pair.b.dim(0), pair.a.dim(1),
                 to_string(base));
    }
  }
}

std::vector<std::byte> lora_gguf(const LoraAdapter& adapter, const ModelConfig& config) {
  check_fits(adapter, config, "LoRA export");
  GgufWriter out;
  out.set_string("general.architecture", gguf_architecture(config.architecture));
  out.set_string("general.type", "adapter");
  out.set_string("adapter.type", "lora");
  out.set_f32("adapter.lora.alpha", adapter.alpha);
  if (!adapter.base_name.empty()) {
    out.set_string("general.base_model.0.name", adapter.base_name);
    out.set_u32("general.base_model.count", 1);
  }
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (size_t t = 0; t < kLoraTargets; ++t) {
      const LoraPair& pair = adapter.layers[layer][t];
      if (pair.a.defined()) {
        const std::string name = fmt::format("blk.{}.{}.weight", layer, kGgufNames[t]);
        out.add_tensor(name + ".lora_a", pair.a);
        out.add_tensor(name + ".lora_b", exported_b(pair.b, static_cast<LoraTarget>(t), config));
      }
    }
  }
  return out.bytes();
}

void write_lora_gguf(FileSystem& fs, const std::filesystem::path& path, const LoraAdapter& adapter,
                     const ModelConfig& config) {
  write_file_atomically(fs, path, lora_gguf(adapter, config));
}

}  // namespace offbook::model
