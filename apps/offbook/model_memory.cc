#include "apps/offbook/model_memory.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

namespace offbook::app {
namespace {

using model::ModelConfig;

constexpr int64_t kCacheTokens = 12'288;
constexpr uint64_t kPassRows = 512;
constexpr uint64_t kEncoderBytes = uint64_t{190} << 20;
constexpr double kBitsPerWeight = 4.85;  // Q4_K_M: Q4_K with some matrices in Q6_K

struct Listed {
  std::string_view name, licence;
  ModelConfig config;
};

ModelConfig shape(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t head_dim,
                  int64_t ffn, int64_t vocab, bool is_tied) {
  return {.vocab_size = vocab,
          .hidden = hidden,
          .layers = layers,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .ffn = ffn,
          .max_positions = 32'768,
          .has_tied_embeddings = is_tied};
}

// Sizes as their config.json files give them.
const Listed kListed[] = {
    {"SmolLM2-360M-Instruct", "Apache-2.0", shape(32, 960, 15, 5, 64, 2560, 49152, true)},
    {"SmolLM2-1.7B-Instruct", "Apache-2.0", shape(24, 2048, 32, 32, 64, 8192, 49152, true)},
    {"Qwen2.5-7B-Instruct", "Apache-2.0", shape(28, 3584, 28, 4, 128, 18944, 152064, false)},
    {"Qwen2.5-14B-Instruct", "Apache-2.0", shape(48, 5120, 40, 8, 128, 13824, 152064, false)},
    {"Qwen2.5-32B-Instruct", "Apache-2.0", shape(64, 5120, 40, 8, 128, 27648, 152064, false)},
};

uint64_t weights_of(const ModelConfig& c) {
  const int64_t attention = 2 * c.hidden * c.q_width() + 2 * c.hidden * c.kv_width();
  const int64_t layer = attention + 3 * c.hidden * c.ffn;
  const int64_t tables = (c.has_tied_embeddings ? 1 : 2) * c.vocab_size * c.hidden;
  return static_cast<uint64_t>(c.layers * layer + tables);
}

// The figure of a line "NAME 123 kB".
std::optional<uint64_t> bytes_in(const char* path, std::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(name)) {
      return std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024;
    }
  }
  return std::nullopt;
}

}  // namespace

int64_t cache_tokens(const ModelConfig& config) {
  return std::min<int64_t>(config.max_positions * 3 / 2, kCacheTokens);
}

uint64_t memory_to_ask(const ModelConfig& c, uint64_t weight_bytes) {
  const auto cache = static_cast<uint64_t>(cache_tokens(c) * c.layers * 2 * c.kv_width() * 2);
  // q and k rows of GGUF files are copied; a pass keeps the residual stream, a layer's projections
  // and its feed-forward rows in f32, and one row of logits.
  const uint64_t copies = weight_bytes / 8;
  const auto row =
      static_cast<uint64_t>(4 * c.hidden + 2 * (c.q_width() + c.kv_width()) + 3 * c.ffn);
  const uint64_t pass = kPassRows * row * 4 + static_cast<uint64_t>(c.vocab_size) * 4;
  return weight_bytes + copies + cache + pass + kEncoderBytes;
}

std::optional<uint64_t> available_memory() {
  return bytes_in("/proc/meminfo", "MemAvailable:");
}

std::optional<uint64_t> resident_memory() {
  return bytes_in("/proc/self/status", "VmRSS:");
}

std::optional<LargerModel> largest_that_fits(uint64_t memory) {
  std::optional<LargerModel> best;
  for (const Listed& listed : kListed) {
    const auto bytes =
        static_cast<uint64_t>(static_cast<double>(weights_of(listed.config)) * kBitsPerWeight / 8);
    const uint64_t needed = memory_to_ask(listed.config, bytes);
    if (needed <= memory - memory / 8 && (!best || needed > best->bytes_to_ask)) {
      best = LargerModel{listed.name, listed.licence, bytes, needed};
    }
  }
  return best;
}

}  // namespace offbook::app
