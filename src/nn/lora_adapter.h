// A low-rank adapter of a decoder: pairs of factors beside some of its matrices (arXiv 2106.09685).
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "src/ops/lora/lora.h"
#include "src/records/context.h"

namespace offbook::nn {

// The matrices of a Llama layer that can be adapted. The numbers are written to files: never renumber.
enum class LoraTarget : uint8_t { q = 0, k = 1, v = 2, o = 3, gate = 4, up = 5, down = 6 };
inline constexpr int kLoraTargets = 7;

// Name in Hugging Face checkpoints: "q_proj" … "down_proj".
std::string_view hf_name(LoraTarget target);

using LoraLayer = std::array<ops::LoraFactors, kLoraTargets>;

// Value type; the tensors are shared. q and k rows of b are in half-split RoPE order, as everywhere.
struct LoraAdapter {
  int64_t rank = 0;
  float alpha = 0;  // the product of the factors is scaled by alpha / rank
  Fingerprint base;
  std::vector<LoraLayer> layers;  // factors are undefined where nothing is adapted

  float scale() const { return alpha / static_cast<float>(rank); }
};

// What the matrices of a decoder measure, for making adapters.
struct LoraShapes {
  int64_t layers, hidden, q_width, kv_width, ffn;
  int64_t in(LoraTarget target) const;
  int64_t out(LoraTarget target) const;
};

struct LoraOptions {
  int64_t rank = 8;
  float alpha = 16;
  std::vector<LoraTarget> targets = {LoraTarget::q, LoraTarget::k, LoraTarget::v, LoraTarget::o};
  uint64_t seed = 0;
};

// a is normal with variance 1/in, b is zero: the adapted model starts as the base. f32 CPU tensors;
// the same bits for the same seed everywhere. InvalidArgument for a rank below 1 or no targets.
LoraAdapter make_lora_adapter(const LoraShapes& shapes, const LoraOptions& options);

}  // namespace offbook::nn
