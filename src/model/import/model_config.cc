#include "src/model/import/model_config.h"

#include <cmath>
#include <numbers>

#include "src/base/error.h"

namespace offbook::model {
namespace {

struct Bound {
  std::string_view field;
  int64_t value, low, high;
};

void check_reals(const ModelConfig& config, const std::string& where) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto check = [&](std::string_view field, double value, double low, double high) {
    OB_REQUIRE(value >= low && value <= high, Corrupt, "{}: {} is {}, wanted {} to {}", where,
               field, value, low, high);
  };
  check("rms norm epsilon", config.rms_eps, 1e-12, 1);
  check("rope theta", config.rope_theta, 1.001, 1e12);
  check("rope scaling factor", scaling.factor, 1, 1e6);
  if (scaling.kind == RopeScalingKind::llama3 || scaling.kind == RopeScalingKind::yarn) {
    check("rope original positions", static_cast<double>(scaling.original_max_positions),
          scaling.divisors.empty() ? 1 : 0, 1 << 27);
    check("rope low frequency factor", scaling.low_freq_factor, 1e-3, 1e6);
    check("rope high frequency factor", scaling.high_freq_factor, scaling.low_freq_factor * 1.001,
          1e6);
    check("rope beta_slow", scaling.beta_slow, 1e-3, 1e6);
    check("rope beta_fast", scaling.beta_fast, scaling.beta_slow, 1e6);
    check("rope attention factor", scaling.attention_factor, 1e-3, 1e3);
  }
  for (const float divisor : scaling.divisors) {
    check("rope frequency divisor", divisor, 1e-3, 1e6);
  }
}

double inverse_frequency(const ModelConfig& config, int64_t pair) {
  return std::pow(config.rope_theta,
                  -2.0 * static_cast<double>(pair) / static_cast<double>(config.head_dim));
}

double llama3_frequency(const RopeScaling& scaling, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto window = static_cast<double>(scaling.original_max_positions);
  if (wavelength > window / scaling.low_freq_factor) {
    return frequency / scaling.factor;
  }
  if (wavelength < window / scaling.high_freq_factor) {
    return frequency;
  }
  const double kept = (window / wavelength - scaling.low_freq_factor) /
                      (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - kept) * frequency / scaling.factor + kept * frequency;
}

// Dimension whose frequency makes `rotations` turns within the original window.
double yarn_dimension(const ModelConfig& config, double rotations) {
  const auto window = static_cast<double>(config.rope_scaling.original_max_positions);
  return static_cast<double>(config.head_dim) *
         std::log(window / (rotations * 2 * std::numbers::pi)) / (2 * std::log(config.rope_theta));
}

double yarn_frequency(const ModelConfig& config, int64_t pair, double frequency) {
  const RopeScaling& scaling = config.rope_scaling;
  const double low = std::max(std::floor(yarn_dimension(config, scaling.beta_fast)), 0.0);
  const double high = std::min(std::ceil(yarn_dimension(config, scaling.beta_slow)),
                               static_cast<double>(config.head_dim - 1));
  const double ramp = (static_cast<double>(pair) - low) / std::max(high - low, 0.001);
  const double interpolated = std::clamp(ramp, 0.0, 1.0);
  return interpolated * frequency / scaling.factor + (1 - interpolated) * frequency;
}

double scaled_frequency(const ModelConfig& config, int64_t pair) {
  const double frequency = inverse_frequency(config, pair);
  const RopeScaling& scaling = config.rope_scaling;
  if (!scaling.divisors.empty()) {
    return frequency / scaling.divisors[static_cast<size_t>(pair)];
  }
  switch (scaling.kind) {
    case RopeScalingKind::linear:
      return frequency / scaling.factor;
    case RopeScalingKind::llama3:
      return llama3_frequency(scaling, frequency);
    case RopeScalingKind::yarn:
      return yarn_frequency(config, pair, frequency);
    default:
      return frequency;
  }
}

}  // namespace

std::string_view to_string(Architecture architecture) noexcept {
  switch (architecture) {
    case Architecture::mistral:
      return "mistral";
    case Architecture::qwen2:
      return "qwen2";
    case Architecture::qwen3:
      return "qwen3";
    default:
      return "llama";
  }
}

void validate(const ModelConfig& config, const std::string& where) {
  const Bound bounds[] = {
      {"vocabulary size", config.vocab_size, 1, 1 << 22},
      {"hidden size", config.hidden, 1, 1 << 17},
      {"layer count", config.layers, 1, 1'024},
      {"head count", config.heads, 1, 4'096},
      {"kv head count", config.kv_heads, 1, config.heads},
      {"head dimension", config.head_dim, 2, 4'096},
      {"feed-forward size", config.ffn, 1, 1 << 20},
      {"window", config.max_positions, 1, 1 << 27},
  };
  for (const Bound& bound : bounds) {
    OB_REQUIRE(bound.value >= bound.low && bound.value <= bound.high, Corrupt,
               "{}: {} is {}, wanted {} to {}", where, bound.field, bound.value, bound.low,
               bound.high);
  }
  OB_REQUIRE(config.heads % config.kv_heads == 0, Corrupt,
             "{}: {} heads do not divide among {} kv heads", where, config.heads, config.kv_heads);
  OB_REQUIRE(config.head_dim % 2 == 0, Corrupt, "{}: head dimension {} is odd; RoPE turns pairs",
             where, config.head_dim);
  const auto divisors = static_cast<int64_t>(config.rope_scaling.divisors.size());
  OB_REQUIRE(divisors == 0 || divisors == config.head_dim / 2, Corrupt,
             "{}: {} rope frequency divisors, wanted {}", where, divisors, config.head_dim / 2);
  const auto windows = static_cast<int64_t>(config.layer_windows.size());
  OB_REQUIRE(windows == 0 || windows == config.layers, Corrupt,
             "{}: sliding windows of {} layers, wanted {}", where, windows, config.layers);
  check_reals(config, where);
}

RopeFrequencies rope_frequencies(const ModelConfig& config) {
  RopeFrequencies out;
  for (int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    out.inv_freq.push_back(static_cast<float>(scaled_frequency(config, pair)));
  }
  if (config.rope_scaling.kind == RopeScalingKind::yarn) {
    out.scale = static_cast<float>(config.rope_scaling.attention_factor);
  }
  return out;
}

}  // namespace offbook::model
