#include "src/model/import/fingerprint.h"

#include <algorithm>
#include <array>

#include <xxhash.h>

#include "src/base/error.h"
#include "src/model/import/encoder_config.h"
#include "src/model/import/fingerprint_cache.h"
#include "src/model/import/tokenizer_source.h"

namespace offbook::model {
namespace {

// Streaming XXH3-128. Every piece is hashed with its length, so that no two lists of pieces meet.
class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) {
    OB_REQUIRE(state_ != nullptr, OutOfMemory, "no memory for a hash state");
    XXH3_128bits_reset(state_.get());
  }

  Hasher& add(std::span<const std::byte> bytes) {
    const uint64_t size = bytes.size();
    XXH3_128bits_update(state_.get(), &size, sizeof(size));
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
    return *this;
  }
  Hasher& add(std::string_view text) { return add(std::as_bytes(std::span(text))); }

  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

// What quantisations and file formats of one model share. Left out: what one of the formats does
// not say (sliding windows, llama3 fields, whether the head is tied).
std::string family_text(const ModelConfig& c) {
  const bool is_qwen =
      c.architecture == Architecture::qwen2 || c.architecture == Architecture::qwen3;
  const RopeScaling& scaling = c.rope_scaling;
  const bool has_factor =
      scaling.kind == RopeScalingKind::linear || scaling.kind == RopeScalingKind::yarn;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                     is_qwen ? to_string(c.architecture) : "llama", c.vocab_size, c.hidden,
                     c.layers, c.heads, c.kv_heads, c.head_dim, c.ffn, c.max_positions, c.rms_eps,
                     static_cast<float>(c.rope_theta), static_cast<int>(scaling.kind),
                     has_factor ? static_cast<float>(scaling.factor) : 1.0f, c.has_qkv_bias,
                     c.has_o_bias, c.has_qk_norm);
}

std::string full_text(const ModelConfig& c) {
  const RopeScaling& s = c.rope_scaling;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {}", family_text(c), to_string(c.architecture),
                     c.has_tied_embeddings, fmt::join(c.layer_windows, ","),
                     s.original_max_positions, s.low_freq_factor, s.high_freq_factor, s.beta_fast,
                     s.beta_slow, s.attention_factor, fmt::join(s.divisors, ","));
}

std::string text_of(const EncoderConfig& c) {
  return fmt::format("bert {} {} {} {} {} {} {} {} {} {}", c.vocab_size, c.hidden, c.layers,
                     c.heads, c.ffn, c.max_positions, c.token_types, c.max_tokens, c.layer_norm_eps,
                     c.is_normalized);
}

void add_vocabulary(Hasher& hasher, const text::Vocabulary& vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.type(id) != text::TokenType::unused) {  // padding that only one format has
      hasher.add(fmt::format("{}", id)).add(vocabulary.piece(id));
    }
  }
}

void add_tensor(Hasher& hasher, std::string_view name, const Tensor& tensor) {
  hasher.add(name).add(to_string(tensor));
  hasher.add({tensor.raw(), static_cast<size_t>(tensor.bytes())});
}

void add_weights(Hasher& hasher, const GgufFile& file) {
  for (const GgufTensorInfo& info : file.tensors()) {
    add_tensor(hasher, info.name, file.tensor(info.name));
  }
}

void add_weights(Hasher& hasher, const SafetensorsModel& model) {
  for (const auto& shard : model.shards()) {
    for (const SafetensorsInfo& info : shard->tensors()) {
      add_tensor(hasher, info.name, shard->tensor(info.name));
    }
  }
}

void add_tokenizer(Hasher& hasher, const GgufFile& file) {
  for (const GgufEntry& entry : file.entries()) {
    if (entry.key.starts_with("tokenizer.ggml.")) {
      hasher.add(entry.key).add(gguf_type_name(entry.element)).add(entry.payload);
    }
  }
}

std::filesystem::path tokenizer_file(FileSystem& fs, const std::filesystem::path& directory) {
  const auto json = directory / "tokenizer.json";
  return fs.stat(json) ? json : directory / "tokenizer.model";
}

std::vector<std::filesystem::path> files_of(FileSystem& fs, const std::filesystem::path& directory,
                                            const SafetensorsModel& model) {
  std::vector<std::filesystem::path> out = {directory / "config.json",
                                            tokenizer_file(fs, directory)};
  for (const char* more : {"sentence_bert_config.json", "modules.json", "1_Pooling/config.json"}) {
    if (fs.stat(directory / more)) {
      out.push_back(directory / more);
    }
  }
  for (const auto& shard : model.shards()) {
    out.emplace_back(shard->file());
  }
  return out;
}

Fingerprint compute(FileSystem& fs, const ModelFiles& files) {
  Hasher family, model;
  family.add(family_text(files.config));
  add_vocabulary(family, load_tokenizer(fs, files).tokenizer->vocabulary());
  model.add(full_text(files.config));
  if (files.gguf) {
    add_tokenizer(model, *files.gguf);
    add_weights(model, *files.gguf);
  } else {
    model.add(fs.open(tokenizer_file(fs, files.path))->bytes());
    add_weights(model, *files.safetensors);
  }
  return {.model = model.hex(), .family = family.hex()};
}

}  // namespace

Fingerprint model_fingerprint(FileSystem& fs, const ModelFiles& files,
                              const std::optional<std::filesystem::path>& cache_directory) {
  const auto inputs = files.gguf ? std::vector<std::filesystem::path>{files.path}
                                 : files_of(fs, files.path, *files.safetensors);
  return internal::cached_fingerprint(fs, cache_directory,
                                      internal::fingerprint_cache_key(fs, inputs),
                                      [&] { return compute(fs, files); });
}

Fingerprint encoder_fingerprint(FileSystem& fs, const std::filesystem::path& directory,
                                const std::optional<std::filesystem::path>& cache_directory) {
  const auto weights = SafetensorsModel::open(fs, directory);
  const auto key = internal::fingerprint_cache_key(fs, files_of(fs, directory, *weights));
  return internal::cached_fingerprint(fs, cache_directory, key, [&] {
    const std::string config = text_of(read_encoder_config(fs, directory));
    Hasher family, model;
    add_vocabulary(family.add(config), text::load_tokenizer(fs, directory).tokenizer->vocabulary());
    model.add(config).add(fs.open(tokenizer_file(fs, directory))->bytes());
    add_weights(model, *weights);
    return Fingerprint{.model = model.hex(), .family = family.hex()};
  });
}

}  // namespace offbook::model
