#include "src/compress/weights_file.h"

#include <charconv>
#include <cmath>
#include <memory>

#include <xxhash.h>

#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/compress/packed_factors.h"
#include "src/model/import/safetensors.h"

namespace offbook::compress {
namespace {

constexpr std::string_view kFormat = "offbook.compressor.";
constexpr int kVersion = 1;
constexpr uint64_t kMaxJsonBytes = 1 << 20;

class Hash {
 public:
  Hash() : state_(XXH3_createState(), &XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void bytes(const void* data, size_t n) {
    const uint64_t length = n;  // ("ab", "c") and ("a", "bc") differ
    XXH3_128bits_update(state_.get(), &length, sizeof length);
    XXH3_128bits_update(state_.get(), data, n);
  }
  void text(std::string_view s) { bytes(s.data(), s.size()); }
  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

std::string lora_name(const std::string& prefix, size_t layer, int target, char factor) {
  return fmt::format("{}.layers.{}.{}.{}", prefix, layer,
                     model::to_string(static_cast<model::LoraTarget>(target)), factor);
}

std::string packed_name(const std::string& name, int bits) {
  return fmt::format("{}.q{}", name, bits);
}

// In how many bits a tensor is there packed; 0: it is not.
int packed_bits(const CompressorWeights& weights, const std::string& name) {
  for (const int bits : {8, 4}) {
    if (weights.tensors.contains(packed_name(name, bits))) {
      return bits;
    }
  }
  return 0;
}

bool has_factor(const CompressorWeights& weights, const std::string& name) {
  return weights.tensors.contains(name) || packed_bits(weights, name) != 0;
}

// "rank" of the writer's adapter "lora", "reader_rank" of one named "reader".
std::string setting(const std::string& prefix, const char* name) {
  return prefix == "lora" ? name : prefix + "_" + name;
}

Tensor as_bf16(const Tensor& t) {
  Tensor out = Tensor::empty(Dtype::bf16, t.shape());
  for (int64_t i = 0; i < t.numel(); ++i) {
    out.data<Bf16>()[i] = to_bf16(t.data<float>()[i]);
  }
  return out;
}

Tensor as_f32(const Tensor& t) {
  Tensor out = Tensor::empty(Dtype::f32, t.shape());
  for (int64_t i = 0; i < t.numel(); ++i) {
    out.data<float>()[i] =
        t.dtype() == Dtype::f32 ? t.data<float>()[i] : to_float(t.data<Bf16>()[i]);
  }
  return out;
}

const std::string& field(const model::SafetensorsFile& file, const std::string& key) {
  const auto at = file.metadata().find(key);
  OB_REQUIRE(at != file.metadata().end(), Corrupt, "{}: no metadata field {}", file.file(), key);
  return at->second;
}

void check_format(const model::SafetensorsFile& file) {
  const auto at = file.metadata().find("format");
  OB_REQUIRE(at != file.metadata().end() && at->second.starts_with(kFormat), Unsupported,
             "{}: not a file of compressor weights", file.file());
  OB_REQUIRE(at->second == fmt::format("{}{}", kFormat, kVersion), Unsupported,
             "{}: format {}, this version reads {}{}", file.file(), printable(at->second), kFormat,
             kVersion);
}

nlohmann::json json_field(const model::SafetensorsFile& file, const std::string& key) {
  const std::string& text = field(file, key);
  auto value = parse_json(std::as_bytes(std::span(text)), file.file() + ": " + key, kMaxJsonBytes);
  OB_REQUIRE(value.is_object(), Corrupt, "{}: metadata field {} is no object", file.file(), key);
  return value;
}

int64_t int_field(const model::SafetensorsFile& file, const std::string& key) {
  const std::string& text = field(file, key);
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  OB_REQUIRE(error == std::errc() && end == text.data() + text.size() && value >= 0, Corrupt,
             "{}: metadata field {} is no count: {}", file.file(), key, printable(text));
  return value;
}

}  // namespace

std::string hash_of(const CompressorWeights& weights) {
  Hash hash;
  hash.text(weights.method);
  hash.text(weights.base.model);
  hash.text(weights.settings.dump());
  for (const auto& [name, tensor] : weights.tensors) {
    hash.text(name);
    hash.text(to_string(tensor));
    hash.bytes(tensor.raw(), static_cast<size_t>(tensor.bytes()));
  }
  return hash.hex();
}

std::string recipe_hash(const nlohmann::json& recipe) {
  Hash hash;
  hash.text(recipe.dump());
  return hash.hex();
}

void save_weights(FileSystem& fs, const std::filesystem::path& path,
                  const CompressorWeights& weights) {
  const std::map<std::string, std::string> metadata{
      {"format", fmt::format("{}{}", kFormat, kVersion)},
      {"method", weights.method},
      {"base.model", weights.base.model},
      {"base.family", weights.base.family},
      {"recipe", weights.recipe},
      {"tokens_seen", std::to_string(weights.tokens_seen)},
      {"settings", weights.settings.dump()},
      {"held_out", weights.held_out.dump()}};
  if (path.has_parent_path()) {
    fs.create_directories(path.parent_path());
  }
  write_file_atomically(fs, path, model::write_safetensors(weights.tensors, metadata));
}

CompressorWeights load_weights(FileSystem& fs, const std::filesystem::path& path,
                               const Fingerprint& base) {
  const auto file = model::SafetensorsFile::open(fs, path);
  check_format(*file);
  CompressorWeights weights{
      .method = field(*file, "method"),
      .base = {.model = field(*file, "base.model"), .family = field(*file, "base.family")},
      .recipe = field(*file, "recipe"),
      .tokens_seen = int_field(*file, "tokens_seen"),
      .settings = json_field(*file, "settings"),
      .held_out = json_field(*file, "held_out")};
  OB_REQUIRE(weights.base.model == base.model, InvalidArgument,
             "{}: trained for the model {}, the model here is {}: train or fetch the compressor of "
             "this model",
             path.string(), printable(weights.base.model), base.model);
  for (const model::SafetensorsInfo& info : file->tensors()) {
    OB_REQUIRE(info.dtype == Dtype::f32 || info.dtype == Dtype::bf16 || info.dtype == Dtype::u8,
               Corrupt, "{}: tensor {} is {}, wanted F32, BF16 or U8", file->file(),
               printable(info.name), printable(info.dtype_name));
    weights.tensors[info.name] = file->tensor(info.name);
  }
  return weights;
}

void put_lora(const model::LoraAdapter& adapter, CompressorWeights& weights,
              const std::string& prefix) {
  weights.settings[setting(prefix, "rank")] = adapter.rank;
  weights.settings[setting(prefix, "alpha")] = adapter.alpha;
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (int t = 0; t < model::kLoraTargets; ++t) {
      const model::LoraPair& pair = adapter.layers[layer][static_cast<size_t>(t)];
      if (pair.a.defined()) {
        weights.tensors[lora_name(prefix, layer, t, 'a')] = as_bf16(pair.a);
        weights.tensors[lora_name(prefix, layer, t, 'b')] = as_bf16(pair.b);
      }
    }
  }
}

model::LoraAdapter take_lora(const CompressorWeights& weights, const model::ModelConfig& config,
                             const std::string& prefix) {
  const JsonFields settings(weights.settings, "compressor settings");
  model::LoraAdapter adapter{
      .rank = settings.get_int(setting(prefix, "rank"), 1, 4096),
      .alpha = static_cast<float>(settings.get_float(setting(prefix, "alpha"), 1e-6, 1e6)),
      .base = weights.base};
  adapter.layers.resize(static_cast<size_t>(config.layers));
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (int t = 0; t < model::kLoraTargets; ++t) {
      const std::string a = lora_name(prefix, layer, t, 'a');
      if (has_factor(weights, a)) {
        const Shape shape = model::target_shape(config, static_cast<model::LoraTarget>(t));
        adapter.layers[layer][static_cast<size_t>(t)] = {
            take_f32(weights, a, {adapter.rank, shape[1]}),
            take_f32(weights, lora_name(prefix, layer, t, 'b'), {shape[0], adapter.rank})};
      }
    }
  }
  return adapter;
}

Tensor take_f32(const CompressorWeights& weights, const std::string& name, const Shape& shape) {
  Tensor out;
  const auto at = weights.tensors.find(name);
  if (at != weights.tensors.end()) {
    OB_REQUIRE(at->second.shape() == shape && at->second.dtype() != Dtype::u8, Corrupt,
               "compressor weights: {} is {}, wanted {}", name, to_string(at->second),
               to_string(shape));
    out = as_f32(at->second);
  } else {
    const int bits = packed_bits(weights, name);
    OB_REQUIRE(bits != 0, Corrupt, "compressor weights: no tensor {}", name);
    out = unpack_factors(weights.tensors.at(packed_name(name, bits)), bits, shape);
  }
  for (int64_t i = 0; i < out.numel(); ++i) {
    OB_REQUIRE(std::isfinite(out.data<float>()[i]), Corrupt,
               "compressor weights: {} holds a value that is not finite", name);
  }
  return out;
}

}  // namespace offbook::compress
