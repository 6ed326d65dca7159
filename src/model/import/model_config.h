// Hyper-parameters of the networks that offbook runs, from GGUF metadata or config.json.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file_system.h"
#include "src/base/json_fields.h"
#include "src/model/import/gguf.h"

namespace offbook::model {

// Families whose layers differ only in what ModelConfig's fields say.
enum class Architecture : uint8_t { llama, mistral, qwen2, qwen3 };

std::string_view to_string(Architecture architecture) noexcept;

enum class RopeScalingKind : uint8_t { none, linear, llama3, yarn };

// How rotary frequencies are stretched beyond the trained window. rope_frequencies() applies it.
struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::none;
  double factor = 1;
  int64_t original_max_positions = 0;  // llama3, yarn: the window before stretching, in tokens
  double low_freq_factor = 1;          // llama3
  double high_freq_factor = 4;         // llama3
  double beta_fast = 32;               // yarn
  double beta_slow = 1;                // yarn
  double attention_factor = 1;         // yarn: multiplies cosines and sines
  // llama3 in GGUF files: [head_dim / 2] numbers that divide the frequencies, instead of the fields
  // above (tensor rope_freqs.weight).
  std::vector<float> divisors;
};

// A Llama-family decoder. Every value that a reader returns has passed validate().
struct ModelConfig {
  Architecture architecture = Architecture::llama;
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // heads × head_dim need not be hidden (Qwen3)
  int64_t ffn = 0;
  int64_t max_positions = 0;
  float rms_eps = 1e-5f;
  double rope_theta = 10'000;
  RopeScaling rope_scaling;
  bool has_tied_embeddings = false;
  bool has_qkv_bias = false;
  bool has_o_bias = false;
  bool has_qk_norm = false;  // RMS norm over head_dim on q and k before RoPE
  // Per layer: attention sees this many last positions, its own among them; 0 = all. Empty = all 0.
  std::vector<int64_t> layer_windows;

  int64_t q_width() const noexcept { return heads * head_dim; }
  int64_t kv_width() const noexcept { return kv_heads * head_dim; }
  int64_t window(int64_t layer) const {
    return layer_windows.empty() ? 0 : layer_windows.at(layer);
  }
};

// Throws Corrupt with `where`, field, value and what is allowed: bounds on every size (so that no
// product of them overflows), heads divisible by kv_heads, even head_dim, finite positive reals.
void validate(const ModelConfig& config, const std::string& where);

// From the metadata of architectures llama (Mistral too), qwen2, qwen3. Unsupported: other
// architectures, experts, split files, partial rotary dimensions, unknown scaling, layers of
// different shape. Corrupt: missing or impossible values.
ModelConfig model_config_of_gguf(const GgufFile& file);

// From config.json of model_type llama, mistral, qwen2, qwen3. Errors as above.
ModelConfig model_config_of_json(const JsonFields& config);
ModelConfig read_model_config(FileSystem& fs, const std::filesystem::path& directory);

// What ops::rope_table takes.
struct RopeFrequencies {
  std::vector<float> inv_freq;  // [head_dim / 2], radians per position
  float scale = 1;              // of cosines and sines
};
// Linear: position interpolation (arXiv 2306.15595); yarn: arXiv 2309.00071, section 3.2–3.4;
// llama3: Meta's wavelength ramp. Computed in double.
RopeFrequencies rope_frequencies(const ModelConfig& config);

}  // namespace offbook::model
