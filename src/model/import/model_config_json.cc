#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/model/import/model_config.h"

namespace offbook::model {
namespace {

constexpr int64_t kMaxInt = INT32_MAX;
constexpr double kMaxReal = 1e15;
constexpr uint64_t kMaxConfigBytes = 4 << 20;

Architecture architecture_of(const JsonFields& config) {
  const std::string type = config.get_string("model_type");
  for (const auto known :
       {Architecture::llama, Architecture::mistral, Architecture::qwen2, Architecture::qwen3}) {
    if (type == to_string(known)) {
      return known;
    }
  }
  OB_THROW(Unsupported,
           "{}: field model_type: {} is not run here; llama, mistral, qwen2 and qwen3 are",
           config.where(), printable(type));
}

void refuse_unsupported(const JsonFields& config) {
  const std::string activation = config.find_string("hidden_act").value_or("silu");
  OB_REQUIRE(activation == "silu", Unsupported, "{}: field hidden_act: {} is not run, silu is",
             config.where(), printable(activation));
  OB_REQUIRE(!config.find_bool("mlp_bias").value_or(false), Unsupported,
             "{}: field mlp_bias: biases in the feed-forward layers are not run", config.where());
  const double partial = config.find_float("partial_rotary_factor", 0, 1).value_or(1);
  OB_REQUIRE(partial == 1, Unsupported,
             "{}: field partial_rotary_factor: {}; partial rotation is not run", config.where(),
             partial);
  OB_REQUIRE(!config.has("quantization_config"), Unsupported,
             "{}: field quantization_config: quantised safetensors are not read; use GGUF for "
             "quantised weights",
             config.where());
}

RopeScalingKind scaling_kind(const JsonFields& scaling) {
  const auto named = scaling.find_string("rope_type");
  const std::string kind = named ? *named : scaling.find_string("type").value_or("default");
  if (kind == "default" || kind == "none") {
    return RopeScalingKind::none;
  }
  if (kind == "linear") {
    return RopeScalingKind::linear;
  }
  if (kind == "llama3") {
    return RopeScalingKind::llama3;
  }
  OB_REQUIRE(kind == "yarn", Unsupported,
             "{}: rope scaling {} is not run; default, linear, llama3 and yarn are",
             scaling.where(), printable(kind));
  return RopeScalingKind::yarn;
}

// YaRN's temperature: given, or by the factor; "mscale" fields are DeepSeek's variant.
double yarn_attention_factor(const JsonFields& scaling, double factor) {
  const auto term = [&](double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
  };
  if (const auto given = scaling.find_float("attention_factor", 0, kMaxReal)) {
    return *given;
  }
  const auto mscale = scaling.find_float("mscale", 0, kMaxReal);
  const auto all_dim = scaling.find_float("mscale_all_dim", 0, kMaxReal);
  return mscale.value_or(0) > 0 && all_dim.value_or(0) > 0 ? term(*mscale) / term(*all_dim)
                                                           : term(1);
}

RopeScaling read_scaling(const JsonFields& scaling, int64_t max_positions) {
  RopeScaling out;
  out.kind = scaling_kind(scaling);
  if (out.kind == RopeScalingKind::none) {
    return out;
  }
  out.factor = scaling.get_float("factor", 1, 1e6);
  out.original_max_positions =
      scaling.find_int("original_max_position_embeddings", 1, kMaxInt).value_or(max_positions);
  if (out.kind == RopeScalingKind::llama3) {
    out.low_freq_factor = scaling.get_float("low_freq_factor", 0, kMaxReal);
    out.high_freq_factor = scaling.get_float("high_freq_factor", 0, kMaxReal);
  } else if (out.kind == RopeScalingKind::yarn) {
    OB_REQUIRE(scaling.find_bool("truncate").value_or(true), Unsupported,
               "{}: field truncate: yarn without rounded bounds is not run", scaling.where());
    out.beta_fast = scaling.find_float("beta_fast", 0, kMaxReal).value_or(out.beta_fast);
    out.beta_slow = scaling.find_float("beta_slow", 0, kMaxReal).value_or(out.beta_slow);
    out.attention_factor = yarn_attention_factor(scaling, out.factor);
  }
  return out;
}

// Files of transformers 5 hold theta and scaling together in rope_parameters, older ones apart.
void read_rope(const JsonFields& fields, ModelConfig& config) {
  const auto parameters = fields.find_object("rope_parameters");
  const auto scaling = parameters ? parameters : fields.find_object("rope_scaling");
  const auto theta = parameters ? parameters->find_float("rope_theta", 0, kMaxReal) : std::nullopt;
  config.rope_theta =
      theta ? *theta : fields.find_float("rope_theta", 0, kMaxReal).value_or(10'000);
  if (scaling) {
    config.rope_scaling = read_scaling(*scaling, config.max_positions);
  }
}

std::vector<int64_t> windows_by_type(const JsonFields& fields, const nlohmann::json& types,
                                     int64_t window) {
  OB_REQUIRE(types.is_array(), Corrupt, "{}: field layer_types: wanted an array", fields.where());
  std::vector<int64_t> out;
  for (const auto& type : types) {
    const bool is_sliding = type == "sliding_attention";
    OB_REQUIRE(is_sliding || type == "full_attention", Unsupported,
               "{}: field layer_types: only full_attention and sliding_attention are run",
               fields.where());
    out.push_back(is_sliding ? window : 0);
  }
  return out;
}

std::vector<int64_t> read_windows(const JsonFields& fields, const ModelConfig& config) {
  const bool is_qwen =
      config.architecture == Architecture::qwen2 || config.architecture == Architecture::qwen3;
  const int64_t window = fields.find_int("sliding_window", 1, kMaxInt).value_or(0);
  if (window == 0 || config.architecture == Architecture::llama ||
      !fields.find_bool("use_sliding_window").value_or(!is_qwen)) {
    return {};
  }
  if (const nlohmann::json* types = fields.find("layer_types")) {
    return windows_by_type(fields, *types, window);
  }
  std::vector<int64_t> out(static_cast<size_t>(config.layers), window);
  if (is_qwen) {  // the first max_window_layers layers see everything
    const int64_t full = fields.find_int("max_window_layers", 0, kMaxInt).value_or(0);
    std::fill_n(out.begin(), std::min(full, config.layers), 0);
  }
  return out;
}

}  // namespace

ModelConfig model_config_of_json(const JsonFields& fields) {
  ModelConfig config;
  config.architecture = architecture_of(fields);
  refuse_unsupported(fields);
  config.vocab_size = fields.get_int("vocab_size", 1, kMaxInt);
  config.hidden = fields.get_int("hidden_size", 1, kMaxInt);
  config.layers = fields.get_int("num_hidden_layers", 1, kMaxInt);
  config.heads = fields.get_int("num_attention_heads", 1, kMaxInt);
  config.kv_heads = fields.find_int("num_key_value_heads", 1, kMaxInt).value_or(config.heads);
  config.head_dim = fields.find_int("head_dim", 1, kMaxInt).value_or(config.hidden / config.heads);
  config.ffn = fields.get_int("intermediate_size", 1, kMaxInt);
  config.max_positions = fields.find_int("max_position_embeddings", 1, kMaxInt).value_or(2'048);
  config.rms_eps = static_cast<float>(fields.find_float("rms_norm_eps", 0, 1).value_or(1e-6));
  config.has_tied_embeddings = fields.find_bool("tie_word_embeddings").value_or(false);
  const bool has_bias = fields.find_bool("attention_bias").value_or(false);
  config.has_qkv_bias = has_bias || config.architecture == Architecture::qwen2;
  config.has_o_bias = has_bias && config.architecture != Architecture::qwen2;
  config.has_qk_norm = config.architecture == Architecture::qwen3;
  read_rope(fields, config);
  validate(config, fields.where());  // before layer count sizes the list of windows
  config.layer_windows = read_windows(fields, config);
  validate(config, fields.where());
  return config;
}

ModelConfig read_model_config(FileSystem& fs, const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  const auto file = fs.open(path);
  const auto json = parse_json(file->bytes(), path.string(), kMaxConfigBytes);
  return model_config_of_json(JsonFields(json, path.string()));
}

}  // namespace offbook::model
