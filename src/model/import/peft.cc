#include <charconv>
#include <cmath>
#include <set>

#include "src/base/error.h"
#include "src/model/import/lora_adapter.h"
#include "src/model/import/tensor_reader.h"

namespace offbook::model {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kWeightsFile[] = "adapter_model.safetensors";
constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr int64_t kMaxRank = 4'096;
constexpr int kMaxLayers = 1'024;

// Fields that change what the tensors mean. Absent, null, false, empty and "none" are all "not
// used".
constexpr const char* kRefused[] = {"rank_pattern",
                                    "alpha_pattern",
                                    "use_dora",
                                    "use_bdlora",
                                    "use_qalora",
                                    "modules_to_save",
                                    "fan_in_fan_out",
                                    "lora_bias",
                                    "bias",
                                    "layer_replication",
                                    "trainable_token_indices",
                                    "target_parameters",
                                    "alora_invocation_tokens",
                                    "arrow_config",
                                    "kasa_config",
                                    "loftq_config",
                                    "monteclora_config",
                                    "velora_config"};

bool is_used(const nlohmann::json* value) {
  if (value == nullptr || (value->is_structured() && value->empty())) {
    return false;
  }
  return *value != false && *value != "none" && *value != "";
}

void refuse_unsupported(const JsonFields& config) {
  const std::string type = config.get_string("peft_type");
  OB_REQUIRE(type == "LORA", Unsupported, "{}: field peft_type: {} is not read, LORA is",
             config.where(), printable(type));
  for (const char* field : kRefused) {
    OB_REQUIRE(!is_used(config.find(field)), Unsupported,
               "{}: field {} is set; such adapters are not read", config.where(), field);
  }
  // These change the base weights when the adapter is made; the saved pair fits only the changed
  // base.
  if (const nlohmann::json* init = config.find("init_lora_weights")) {
    OB_REQUIRE(init->is_boolean() || *init == "gaussian" || *init == "orthogonal", Unsupported,
               "{}: field init_lora_weights: only true, false, gaussian and orthogonal keep the "
               "base as it is",
               config.where());
  }
}

struct Place {
  int layer = 0;
  LoraTarget target = LoraTarget::q;
  bool is_a = false;
};

// The text before `end`, which is cut off `rest` together with it.
std::optional<std::string_view> take_until(std::string_view& rest, std::string_view end) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  const auto out = rest.substr(0, at);
  rest.remove_prefix(at + end.size());
  return out;
}

std::optional<LoraTarget> target_of(std::string_view block, std::string_view name) {
  for (int t = 0; t < kLoraTargets; ++t) {
    const auto target = static_cast<LoraTarget>(t);
    const std::string_view wanted = target <= LoraTarget::o ? "self_attn" : "mlp";
    if (block == wanted && name == to_string(target)) {
      return target;
    }
  }
  return std::nullopt;
}

// base_model.model.model.layers.<n>.self_attn.q_proj.lora_A.weight → layer, target, side.
std::optional<Place> parse_name(std::string_view name) {
  const auto front = take_until(name, "layers.");
  const auto number = take_until(name, ".");
  const auto block = take_until(name, ".");
  const auto linear = take_until(name, ".");
  if (!front || !linear || (*front != "base_model.model.model." && *front != "base_model.model.") ||
      (name != "lora_A.weight" && name != "lora_B.weight")) {
    return std::nullopt;
  }
  Place out{.is_a = name == "lora_A.weight"};
  const auto [end, error] =
      std::from_chars(number->data(), number->data() + number->size(), out.layer);
  const auto target = target_of(*block, *linear);
  const bool is_plain = error == std::errc() && end == number->data() + number->size() &&
                        (number->size() == 1 || number->front() != '0');
  if (!is_plain || out.layer < 0 || out.layer >= kMaxLayers || !target) {
    return std::nullopt;
  }
  out.target = *target;
  return out;
}

void check_finite(const Tensor& tensor, const std::string& what) {
  const float* values = tensor.data<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    OB_REQUIRE(std::isfinite(values[i]), Corrupt, "{}: element {} is not a finite number", what, i);
  }
}

void add_tensor(LoraAdapter& adapter, const SafetensorsFile& weights, const std::string& name) {
  const auto place = parse_name(name);
  OB_REQUIRE(place.has_value(), Unsupported,
             "{}: tensor {}: adapters of attention and feed-forward projections only",
             weights.file(), printable(name));
  const std::string what = fmt::format("{}: tensor {}", weights.file(), name);
  const Tensor stored = weights.tensor(name);
  const int axis = place->is_a ? 0 : 1;
  OB_REQUIRE(stored.rank() == 2 && stored.dim(axis) == adapter.rank && stored.numel() > 0, Corrupt,
             "{}: shape {}, wanted axis {} to be the rank {}", what, to_string(stored.shape()),
             axis, adapter.rank);
  if (adapter.layers.size() <= static_cast<size_t>(place->layer)) {
    adapter.layers.resize(static_cast<size_t>(place->layer) + 1);
  }
  LoraPair& pair = adapter.pair(place->layer, place->target);
  Tensor& side = place->is_a ? pair.a : pair.b;
  OB_REQUIRE(!side.defined(), Corrupt, "{}: a second tensor for the same layer and projection",
             what);
  side = to_f32(stored, what);
  check_finite(side, what);
}

void check_whole(const LoraAdapter& adapter, const std::string& file) {
  OB_REQUIRE(!adapter.layers.empty(), Corrupt, "{}: holds no adapter tensor", file);
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (size_t t = 0; t < kLoraTargets; ++t) {
      const LoraPair& pair = adapter.layers[layer][t];
      OB_REQUIRE(pair.a.defined() == pair.b.defined(), Corrupt,
                 "{}: layer {} {}: lora_{} is missing", file, layer,
                 to_string(static_cast<LoraTarget>(t)), pair.a.defined() ? "B" : "A");
    }
  }
}

std::string metadata_or_empty(const SafetensorsFile& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  return it == file.metadata().end() ? "" : it->second;
}

std::set<std::string_view> used_targets(const LoraAdapter& adapter) {
  std::set<std::string_view> out;
  for (const auto& layer : adapter.layers) {
    for (size_t t = 0; t < kLoraTargets; ++t) {
      if (layer[t].a.defined()) {
        out.insert(to_string(static_cast<LoraTarget>(t)));
      }
    }
  }
  return out;
}

std::string config_text(const LoraAdapter& adapter) {
  const bool is_whole = adapter.alpha == std::floor(adapter.alpha) && adapter.alpha < 1e9f;
  nlohmann::json alpha = adapter.alpha;
  if (is_whole) {
    alpha = static_cast<int64_t>(adapter.alpha);
  }
  const nlohmann::json config = {{"peft_type", "LORA"},
                                 {"task_type", "CAUSAL_LM"},
                                 {"base_model_name_or_path", adapter.base_name},
                                 {"r", adapter.rank},
                                 {"lora_alpha", alpha},
                                 {"lora_dropout", 0.0},
                                 {"target_modules", used_targets(adapter)},
                                 {"bias", "none"},
                                 {"fan_in_fan_out", false},
                                 {"inference_mode", true},
                                 {"init_lora_weights", true}};
  return config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::map<std::string, Tensor> named_tensors(const LoraAdapter& adapter) {
  std::map<std::string, Tensor> out;
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (size_t t = 0; t < kLoraTargets; ++t) {
      const LoraPair& pair = adapter.layers[layer][t];
      if (pair.a.defined()) {
        const auto target = static_cast<LoraTarget>(t);
        const std::string name =
            fmt::format("base_model.model.model.layers.{}.{}.{}.lora_", layer,
                        target <= LoraTarget::o ? "self_attn" : "mlp", to_string(target));
        out[name + "A.weight"] = pair.a;
        out[name + "B.weight"] = pair.b;
      }
    }
  }
  return out;
}

}  // namespace

LoraAdapter parse_peft(const JsonFields& config, const SafetensorsFile& weights) {
  refuse_unsupported(config);
  LoraAdapter out;
  out.rank = config.get_int("r", 1, kMaxRank);
  const double alpha = config.get_float("lora_alpha", 1e-6, 1e6);
  const bool is_rslora = config.find_bool("use_rslora").value_or(false);  // scale is alpha / √r
  out.alpha =
      static_cast<float>(is_rslora ? alpha * std::sqrt(static_cast<double>(out.rank)) : alpha);
  out.base_name = config.find_string("base_model_name_or_path").value_or("");
  out.base = {.model = metadata_or_empty(weights, "offbook.base.model"),
              .family = metadata_or_empty(weights, "offbook.base.family")};
  for (const SafetensorsInfo& info : weights.tensors()) {
    add_tensor(out, weights, info.name);
  }
  check_whole(out, weights.file());
  return out;
}

LoraAdapter read_peft(FileSystem& fs, const std::filesystem::path& directory) {
  const auto path = directory / kConfigFile;
  const auto json = parse_json(fs.open(path)->bytes(), path.string(), kMaxConfigBytes);
  return parse_peft(JsonFields(json, path.string()),
                    *SafetensorsFile::open(fs, directory / kWeightsFile));
}

void write_peft(FileSystem& fs, const std::filesystem::path& directory,
                const LoraAdapter& adapter) {
  check_whole(adapter, directory.string());
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!adapter.base.model.empty()) {
    metadata["offbook.base.model"] = adapter.base.model;
    metadata["offbook.base.family"] = adapter.base.family;
  }
  fs.create_directories(directory);
  write_file_atomically(fs, directory / kWeightsFile,
                        write_safetensors(named_tensors(adapter), metadata));
  const std::string config = config_text(adapter);
  write_file_atomically(fs, directory / kConfigFile, std::as_bytes(std::span(config)));
}

}  // namespace offbook::model
