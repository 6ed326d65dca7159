// What a language model needs of a machine's memory, and which larger one would fit.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "src/model/import/model_config.h"

namespace offbook::app {

// Tokens of the key/value cache that `ask` makes for a model: its window and half as much for
// prompts that are kept, at most 12,288.
int64_t cache_tokens(const model::ModelConfig& config);

// Bytes while a question is answered on the CPU: weights, key/value cache in bf16, the largest pass
// (512 rows), and the sentence encoder with its copies (190 MiB).
uint64_t memory_to_ask(const model::ModelConfig& config, uint64_t weight_bytes);

// MemAvailable of /proc/meminfo; absent where there is none.
std::optional<uint64_t> available_memory();

// VmRSS of /proc/self/status: what this process holds just now.
std::optional<uint64_t> resident_memory();

// A model that people fetch as a GGUF file with about 4.85 bits a weight (Q4_K_M).
struct LargerModel {
  std::string_view name, licence;
  uint64_t weight_bytes = 0;
  uint64_t bytes_to_ask = 0;
};
// The largest of a short list of well-known models that leaves an eighth of `memory` free; absent
// when none does.
std::optional<LargerModel> largest_that_fits(uint64_t memory);

}  // namespace offbook::app
