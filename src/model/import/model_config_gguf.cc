#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/model/import/model_config.h"

namespace offbook::model {
namespace {

constexpr int64_t kMaxInt = INT32_MAX;

// Reads the keys "<architecture>.<name>".
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view prefix) : file_(file), prefix_(prefix) {}

  const GgufFile& file() const { return file_; }
  std::string key(std::string_view name) const { return fmt::format("{}.{}", prefix_, name); }
  int64_t get_int(std::string_view name) const { return file_.get_int(key(name), 0, kMaxInt); }
  std::optional<int64_t> find_int(std::string_view name) const {
    return file_.find_int(key(name), 0, kMaxInt);
  }
  std::optional<double> find_float(std::string_view name) const {
    return file_.find_float(key(name));
  }

  // Some files give one number a layer; only equal ones are a shape that we run.
  std::optional<int64_t> find_uniform(std::string_view name) const {
    const GgufEntry* entry = file_.find(key(name));
    if (entry == nullptr || entry->type != GgufType::array) {
      return find_int(name);
    }
    const auto values = *file_.find_ints(key(name));
    OB_REQUIRE(!values.empty(), Corrupt, "{}: metadata {} is an empty array", file_.file(),
               key(name));
    const bool is_uniform =
        std::all_of(values.begin(), values.end(), [&](int32_t v) { return v == values[0]; });
    OB_REQUIRE(is_uniform, Unsupported,
               "{}: metadata {} differs between layers; only equal layers are run", file_.file(),
               key(name));
    return values[0];
  }

  int64_t get_uniform(std::string_view name) const {
    const auto value = find_uniform(name);
    OB_REQUIRE(value.has_value(), Corrupt, "{}: metadata {} is missing", file_.file(), key(name));
    return *value;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

Architecture architecture_of(const GgufFile& file, std::string_view name) {
  if (name == "llama") {
    return Architecture::llama;
  }
  if (name == "qwen2") {
    return Architecture::qwen2;
  }
  OB_REQUIRE(name == "qwen3", Unsupported,
             "{}: metadata general.architecture: {} is not run here; llama, qwen2 and qwen3 are",
             file.file(), printable(name));
  return Architecture::qwen3;
}

void refuse_unsupported(const Keys& keys) {
  const GgufFile& file = keys.file();
  const int64_t experts = keys.find_int("expert_count").value_or(0);
  OB_REQUIRE(experts == 0, Unsupported,
             "{}: metadata {}: {} experts; mixtures of experts are not run", file.file(),
             keys.key("expert_count"), experts);
  const int64_t parts = file.find_int("split.count", 0, kMaxInt).value_or(1);
  OB_REQUIRE(parts <= 1, Unsupported, "{}: one of {} parts; join them into one file first",
             file.file(), parts);
  const auto type = file.find_string("general.type").value_or("model");
  OB_REQUIRE(type == "model", Unsupported, "{}: metadata general.type: wanted a model, came {}",
             file.file(), printable(type));
}

void read_heads(const Keys& keys, ModelConfig& config) {
  config.heads = keys.get_uniform("attention.head_count");
  config.kv_heads = keys.find_uniform("attention.head_count_kv").value_or(config.heads);
  OB_REQUIRE(config.heads > 0, Corrupt, "{}: metadata {} is 0", keys.file().file(),
             keys.key("attention.head_count"));
  config.head_dim = keys.find_int("attention.key_length").value_or(config.hidden / config.heads);
  const int64_t value_dim = keys.find_int("attention.value_length").value_or(config.head_dim);
  OB_REQUIRE(value_dim == config.head_dim, Unsupported,
             "{}: keys of {} and values of {} a head; only equal ones are run", keys.file().file(),
             config.head_dim, value_dim);
  const int64_t rotary = keys.find_int("rope.dimension_count").value_or(config.head_dim);
  OB_REQUIRE(rotary == config.head_dim, Unsupported,
             "{}: metadata {} is {} of {}; partial rotation is not run", keys.file().file(),
             keys.key("rope.dimension_count"), rotary, config.head_dim);
}

std::vector<float> read_divisors(const GgufFile& file) {
  constexpr std::string_view kName = "rope_freqs.weight";
  if (file.find_tensor(kName) == nullptr) {
    return {};
  }
  const Tensor tensor = file.tensor(kName);
  OB_REQUIRE(tensor.dtype() == Dtype::f32 && tensor.rank() == 1, Corrupt,
             "{}: tensor {}: wanted f32 [head_dim / 2], came {}", file.file(), kName,
             to_string(tensor));
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

RopeScaling read_scaling(const Keys& keys, const ModelConfig& config) {
  RopeScaling out;
  const auto kind = keys.file().find_string(keys.key("rope.scaling.type")).value_or("");
  const double old_linear = keys.find_float("rope.scale_linear").value_or(1);
  out.factor = keys.find_float("rope.scaling.factor").value_or(old_linear);
  if (kind == "yarn") {
    out.kind = RopeScalingKind::yarn;
    out.original_max_positions =
        keys.find_int("rope.scaling.original_context_length").value_or(config.max_positions);
    out.beta_fast = keys.find_float("rope.scaling.yarn_beta_fast").value_or(out.beta_fast);
    out.beta_slow = keys.find_float("rope.scaling.yarn_beta_slow").value_or(out.beta_slow);
    out.attention_factor = keys.find_float("rope.scaling.attn_factor").value_or(1) *
                           (0.1 * std::log(std::max(out.factor, 1.0)) + 1);
  } else if (kind == "linear" || (kind.empty() && out.factor != 1)) {
    out.kind = RopeScalingKind::linear;
  } else {
    OB_REQUIRE(kind.empty() || kind == "none", Unsupported,
               "{}: metadata {}: {} is not run; none, linear and yarn are", keys.file().file(),
               keys.key("rope.scaling.type"), printable(kind));
    out.factor = 1;
  }
  out.divisors = read_divisors(keys.file());
  if (!out.divisors.empty()) {
    OB_REQUIRE(out.kind == RopeScalingKind::none, Unsupported,
               "{}: rope_freqs.weight beside rope scaling {}", keys.file().file(), printable(kind));
    out.kind = RopeScalingKind::llama3;
  }
  return out;
}

void read_tensors_present(const GgufFile& file, ModelConfig& config) {
  const GgufTensorInfo* embedding = file.find_tensor("token_embd.weight");
  OB_REQUIRE(embedding != nullptr && embedding->shape.rank() == 2, Corrupt,
             "{}: tensor token_embd.weight [vocabulary, hidden] is missing", file.file());
  config.vocab_size = embedding->shape[0];
  config.has_tied_embeddings = file.find_tensor("output.weight") == nullptr;
  config.has_qkv_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  config.has_o_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  config.has_qk_norm = file.find_tensor("blk.0.attn_q_norm.weight") != nullptr;
}

}  // namespace

ModelConfig model_config_of_gguf(const GgufFile& file) {
  ModelConfig config;
  const std::string_view name = file.get_string("general.architecture");
  config.architecture = architecture_of(file, name);
  const Keys keys(file, name);
  refuse_unsupported(keys);
  config.hidden = keys.get_int("embedding_length");
  config.layers = keys.get_int("block_count");
  config.ffn = keys.get_uniform("feed_forward_length");
  config.max_positions = keys.get_int("context_length");
  read_heads(keys, config);
  config.rms_eps = static_cast<float>(file.get_float(keys.key("attention.layer_norm_rms_epsilon")));
  config.rope_theta = keys.find_float("rope.freq_base").value_or(10'000);
  read_tensors_present(file, config);
  config.rope_scaling = read_scaling(keys, config);
  const int64_t window = keys.find_int("attention.sliding_window").value_or(0);
  validate(config, file.file());
  if (window > 0) {
    config.layer_windows.assign(static_cast<size_t>(config.layers), window);
  }
  return config;
}

}  // namespace offbook::model
