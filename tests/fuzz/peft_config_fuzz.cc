// PEFT adapters from outside: the configuration, a zero byte, then the safetensors file.
#include <algorithm>

#include "src/base/error.h"
#include "src/model/import/lora_adapter.h"

namespace {

using namespace offbook;

void read(std::span<const std::byte> config, std::span<const std::byte> weights) {
  const auto json = parse_json(config, "adapter_config.json", 1 << 20);
  const auto file = model::SafetensorsFile::parse(weights, "adapter_model.safetensors", nullptr);
  const auto adapter = model::parse_peft(JsonFields(json, "adapter_config.json"), *file);
  model::ModelConfig base{.vocab_size = 6,
                          .hidden = 8,
                          .layers = 2,
                          .heads = 2,
                          .kv_heads = 1,
                          .head_dim = 4,
                          .ffn = 16};
  model::lora_gguf(adapter, base);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto split =
      static_cast<size_t>(std::find(bytes.begin(), bytes.end(), std::byte{0}) - bytes.begin());
  try {
    read(bytes.first(split), bytes.subspan(std::min(split + 1, size)));
  } catch (const Error&) {
    // The expected end of a hostile file.
  }
  return 0;
}
