// A LoRA adapter as data, and its three file forms.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/base/json_fields.h"
#include "src/model/import/model_config.h"
#include "src/model/import/safetensors.h"
#include "src/records/context.h"
#include "src/tensor/tensor.h"

namespace offbook::model {

// The linear layers of a decoder layer, in the order of the forward pass.
enum class LoraTarget : uint8_t { q, k, v, o, gate, up, down };
inline constexpr int kLoraTargets = 7;

// "q_proj", "gate_proj", … as Hugging Face calls them.
std::string_view to_string(LoraTarget target) noexcept;
// [out, in] of a target's base weight.
Shape target_shape(const ModelConfig& config, LoraTarget target);

// y += scale · B (A x). Both f32 and contiguous; undefined where a layer has no such adapter.
struct LoraPair {
  Tensor a;  // [rank, in]
  Tensor b;  // [out, rank]; of q and k in half-split RoPE order
};

// arXiv 2106.09685. One rank and one alpha for all pairs.
struct LoraAdapter {
  int64_t rank = 0;
  float alpha = 0;
  Fingerprint base;  // of the model it was trained on; empty strings: not known (foreign adapters)
  std::string base_name;  // free text, as the file had it
  std::vector<std::array<LoraPair, kLoraTargets>> layers;

  float scale() const noexcept { return alpha / static_cast<float>(rank); }
  const LoraPair& pair(int64_t layer, LoraTarget target) const {
    return layers.at(static_cast<size_t>(layer))[static_cast<size_t>(target)];
  }
  LoraPair& pair(int64_t layer, LoraTarget target) {
    return layers.at(static_cast<size_t>(layer))[static_cast<size_t>(target)];
  }
};

// Throws InvalidArgument, naming `what` and the pair, unless every pair has this model's shapes and
// no layer lies beyond its last.
void check_fits(const LoraAdapter& adapter, const ModelConfig& config, const std::string& what);

// PEFT directories (adapter_config.json, adapter_model.safetensors) of peft_type LORA. rslora is
// folded into alpha. Refused by name (Unsupported): rank and alpha patterns, DoRA, biases,
// modules_to_save, initialisations that change the base, embeddings and other layers. Corrupt: half
// a pair, another rank than r, shapes, NaN or infinity. Elements are f32 copies of f32, f16 or
// bf16.
LoraAdapter read_peft(FileSystem& fs, const std::filesystem::path& directory);
LoraAdapter parse_peft(const JsonFields& config, const SafetensorsFile& weights);

// Writes the same two files, each atomically, weights first; makes the directory. The base's
// fingerprint goes into the metadata of the safetensors file, where PEFT does not look.
void write_peft(FileSystem& fs, const std::filesystem::path& directory, const LoraAdapter& adapter);

// llama.cpp's adapter layout (docs/formats/lora_export.md). `config` is the base model's: rows of B
// of q and k go back to interleaved order where the GGUF form of that architecture has it.
std::vector<std::byte> lora_gguf(const LoraAdapter& adapter, const ModelConfig& config);
void write_lora_gguf(FileSystem& fs, const std::filesystem::path& path, const LoraAdapter& adapter,
                     const ModelConfig& config);

}  // namespace offbook::model
