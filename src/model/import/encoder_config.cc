#include "src/model/import/encoder_config.h"

#include <algorithm>
#include <functional>

#include "src/base/error.h"

namespace offbook::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;

// Calls `read` with the file's JSON where there is such a file.
void with_json(FileSystem& fs, const std::filesystem::path& path,
               const std::function<void(const nlohmann::json&)>& read) {
  if (fs.stat(path)) {
    read(parse_json(fs.open(path)->bytes(), path.string(), kMaxConfigBytes));
  }
}

void check_pooling(const nlohmann::json& json, const std::string& where) {
  const JsonFields pooling(json, where);
  bool is_mean = true;
  for (const char* other :
       {"pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_lasttoken",
        "pooling_mode_weightedmean_tokens", "pooling_mode_mean_sqrt_len_tokens"}) {
    is_mean = is_mean && !pooling.find_bool(other).value_or(false);
  }
  OB_REQUIRE(is_mean && pooling.find_bool("pooling_mode_mean_tokens").value_or(true), Unsupported,
             "{}: only mean pooling is run", where);
}

bool has_normalize(const nlohmann::json& modules, const std::string& where) {
  OB_REQUIRE(modules.is_array(), Corrupt, "{}: wanted an array of modules", where);
  return std::any_of(modules.begin(), modules.end(), [&](const nlohmann::json& module) {
    const std::string type = JsonFields(module, where).get_string("type");
    return type.ends_with(".Normalize");
  });
}

}  // namespace

EncoderConfig encoder_config_of_json(const JsonFields& fields) {
  const auto wanted = [&](const char* key, const char* value) {
    const std::string came = fields.find_string(key).value_or(value);
    OB_REQUIRE(came == value, Unsupported, "{}: field {}: {} is not run, {} is", fields.where(),
               key, printable(came), value);
  };
  wanted("model_type", "bert");
  wanted("hidden_act", "gelu");
  wanted("position_embedding_type", "absolute");
  EncoderConfig config;
  config.vocab_size = fields.get_int("vocab_size", 1, 1 << 22);
  config.hidden = fields.get_int("hidden_size", 1, 1 << 16);
  config.layers = fields.get_int("num_hidden_layers", 1, 1'024);
  config.heads = fields.get_int("num_attention_heads", 1, 4'096);
  config.ffn = fields.get_int("intermediate_size", 1, 1 << 20);
  config.max_positions = fields.get_int("max_position_embeddings", 1, 1 << 20);
  config.token_types = fields.find_int("type_vocab_size", 1, 1 << 10).value_or(2);
  config.layer_norm_eps =
      static_cast<float>(fields.find_float("layer_norm_eps", 1e-30, 1).value_or(1e-12));
  config.max_tokens = config.max_positions;
  OB_REQUIRE(config.hidden % config.heads == 0, Corrupt,
             "{}: hidden_size {} does not divide among {} heads", fields.where(), config.hidden,
             config.heads);
  return config;
}

EncoderConfig read_encoder_config(FileSystem& fs, const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  const auto json = parse_json(fs.open(path)->bytes(), path.string(), kMaxConfigBytes);
  EncoderConfig config = encoder_config_of_json(JsonFields(json, path.string()));
  const auto limits = directory / "sentence_bert_config.json";
  with_json(fs, limits, [&](const nlohmann::json& j) {
    config.max_tokens = JsonFields(j, limits.string())
                            .find_int("max_seq_length", 3, config.max_positions)
                            .value_or(config.max_positions);
  });
  const auto modules = directory / "modules.json";
  with_json(fs, modules, [&](const nlohmann::json& j) {
    config.is_normalized = has_normalize(j, modules.string());
  });
  const auto pooling = directory / "1_Pooling" / "config.json";
  with_json(fs, pooling, [&](const nlohmann::json& j) { check_pooling(j, pooling.string()); });
  return config;
}

}  // namespace offbook::model
