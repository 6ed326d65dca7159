// What whole models take on a device. usage: model_bench [--profile] [case …], with parts of the
// names below; all without. Random weights.
#include "bench/system/model_work.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>

#include <fmt/format.h>

namespace offbook::bench {
namespace {

struct Case {
  const char* model;
  const char* name;
  std::string (*run)(const Bench&);
};

template <int32_t tokens>
std::string prefill(const Bench& b) {
  const double ms = prefill_ms(b, tokens, tokens > 65'536 ? 1 : 3);
  return fmt::format("{:.2f} ms, {:.0f} tokens/s, {:.1f} GiB", ms, 1e3 * tokens / ms, peak_gib(b));
}
template <int32_t tokens>
std::string soft_prefill(const Bench& b) {
  return fmt::format("{:.2f} ms", soft_prefill_ms(b, tokens, 3));
}
std::string copy(const Bench& b) {
  return fmt::format("{:.0f} GB/s read and written", 1e-6 * copy_bytes_per_ms(b));
}
template <int64_t kept>
std::string decode(const Bench& b) {
  return fmt::format("{:.3f} ms a token", decode_ms(b, kept, 30));
}
template <int rows, int adapters>
std::string batch(const Bench& b) {
  return fmt::format("{:.0f} tokens/s", batch_decode_rate(b, rows, 4369, adapters, 10));
}
template <int64_t kept, int32_t tokens>
std::string question(const Bench& b) {
  return fmt::format("{:.2f} ms", question_ms(b, kept, tokens, 9));
}
std::string as_text(const TrainingRate& r) {
  return fmt::format("{:.0f} tokens/s, {:.1f} GiB, {}", r.tokens_per_second, r.peak_gib,
                     r.checkpointing);
}
template <int sequences>
std::string lora(const Bench& b) {
  return as_text(lora_rate(b, sequences, {}, 6));
}
template <int sequences, int kept_gib>
std::string lora_again(const Bench& b) {
  return as_text(lora_rate(
      b, sequences,
      {.checkpointing = model::Checkpointing::per_layer, .bytes = int64_t{kept_gib} << 30}, 6));
}
template <int at_once>
std::string full(const Bench& b) {
  return as_text(full_rate(b, 16, at_once, 8));
}
std::string beacon(const Bench& b) {
  return as_text(beacon_rate(b, 16, 40));
}
std::string compressor(const Bench& b) {
  return fmt::format("{:.0f} source tokens/s", compress_rate(b, 8, 3));
}

constexpr Case kCases[] = {
    {"smollm2", "large copy", copy},
    {"smollm2", "prefill 8192", prefill<8192>},
    {"smollm2", "decode at 512", decode<512>},
    {"smollm2", "decode at 8192", decode<8192>},
    {"smollm2", "batch of 16 at 4369, 4 adapters", batch<16, 4>},
    {"smollm2", "lora 8 x 4096, kept", lora<8>},
    {"smollm2", "all weights 16 x 2048, 16 at once", full<16>},
    {"smollm2", "all weights 16 x 2048, 8 at once", full<8>},
    {"smollm2", "beacon 16 windows", beacon},
    {"llama2_7b", "prefill 4096", prefill<4096>},
    {"llama2_7b", "prefill 32768", prefill<32'768>},
    {"llama2_7b", "prefill 131072", prefill<131'072>},
    {"llama2_7b", "4369 soft tokens", soft_prefill<4369>},
    {"llama2_7b", "question of 64 behind 4369", question<4369, 64>},
    {"llama2_7b", "batch of 48 at 4369, no adapter", batch<48, 0>},
    {"llama2_7b", "batch of 48 at 4369, 16 adapters", batch<48, 16>},
    {"llama2_7b", "decode at 4096", decode<4096>},
    {"llama2_7b", "decode at 32768", decode<32'768>},
    {"llama2_7b", "decode at 131072", decode<131'072>},
    {"llama2_7b", "compressor 8 x 1536 + 50", compressor},
    {"llama2_7b", "lora 1 x 4096, kept", lora<1>},
    {"llama2_7b", "lora 2 x 4096, kept", lora<2>},
    {"llama2_7b", "lora 1 x 4096, recomputed but 6 GiB", lora_again<1, 6>},
    {"llama2_7b", "lora 4 x 4096, recomputed", lora_again<4, 0>},
    {"llama31_8b", "decode at 4369", decode<4369>},
    {"llama31_8b", "decode at 131072", decode<131'072>},
    {"llama31_8b", "question of 64 behind 4369", question<4369, 64>},
    {"llama31_8b", "batch of 64 at 4369, no adapter", batch<64, 0>},
    {"llama31_8b", "batch of 64 at 4369, 16 adapters", batch<64, 16>},
};

bool wanted(const Case& c, const std::vector<std::string>& parts) {
  const std::string name = std::string(c.model) + " " + c.name;
  return parts.empty() || std::any_of(parts.begin(), parts.end(), [&](const auto& p) {
           return name.find(p) != std::string::npos;
         });
}

int run(int argc, char** argv) {
  std::vector<std::string> parts(argv + 1, argv + argc);
  const bool profiled = std::erase(parts, "--profile") > 0;
  backend::ComputeDevice device;
  if (!device.is_gpu()) {
    std::printf(
        "needs a GPU: prefill, decoding and training of SmolLM2-135M, LLaMA2-7B and Llama-3.1-8B "
        "shapes\n");
    return 3;
  }
  backend::OpProfile* const profile = profiled ? &device.start_profile() : nullptr;
  std::printf("%s\n", device.description().c_str());
  std::string loaded;
  std::optional<model::Llama> model;
  for (const Case& c : kCases) {
    if (!wanted(c, parts)) {
      continue;
    }
    if (loaded != c.model) {
      model.reset();
      model.emplace(random_model(device.context(backend::Compute::bf16), config_named(c.model)));
      loaded = c.model;
    }
    const auto began = std::chrono::steady_clock::now();
    if (profile != nullptr) {
      profile->take();
    }
    try {
      std::printf("%-12s %-36s %s\n", c.model, c.name, c.run({device, *model}).c_str());
    } catch (const Error& e) {
      std::printf("%-12s %-36s %s\n", c.model, c.name, e.what());
    }
    if (profile != nullptr) {
      const std::chrono::duration<double, std::milli> wall =
          std::chrono::steady_clock::now() - began;
      std::printf("%s\n", backend::profile_table(profile->take(), wall.count()).c_str());
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace offbook::bench

int main(int argc, char** argv) {
  return offbook::bench::run(argc, argv);
}
