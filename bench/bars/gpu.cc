// Speed of whole models on one H200. usage: bar_gpu NAME [--quick] [--sabotage]; `bar_gpu --list`
// names them. Prints the figure beside the bar last; 3 without a GPU. --sabotage doubles the work
// of a measured step, which must fall short.
#include "src/backend/gpu.h"

#include "bench/bars/bar.h"
#include "bench/system/model_work.h"

#include <cstdio>
#include <string_view>

#include <fmt/format.h>

namespace offbook::bars {
namespace {

using bench::Bench;

struct Run {
  bool quick = false;
  int slow_down = 1;  // × the work: sabotage
};

struct GpuBar {
  const char* name;
  const char* model;
  const char* unit;
  double bar;
  bool at_least;  // the figure must reach it; else must not exceed it
  double (*measure)(const Bench&, const Run&);
  double most_gib = 0;  // of GPU memory; 0: what the card has
};

template <int32_t tokens>
double prefill(const Bench& b, const Run& r) {
  return r.slow_down * bench::prefill_ms(b, tokens, r.quick || tokens > 65'536 ? 1 : 5);
}
template <int64_t kept>
double decode(const Bench& b, const Run& r) {
  return r.slow_down * bench::decode_ms(b, kept, r.quick ? 20 : 100);
}
// Weights and cache read once at the copy bandwidth of this run, over the time of a token.
template <int64_t kept>
double decode_share(const Bench& b, const Run& r) {
  const double floor_ms = bench::decode_bytes(b, kept) / bench::copy_bytes_per_ms(b);
  return 100 * floor_ms / decode<kept>(b, r);
}
template <int rows, int adapters>
double batch_share(const Bench& b, const Run& r) {
  constexpr int64_t kKept = 4369;
  const double floor_ms = (bench::decode_bytes(b, 0) +
                           rows * (bench::decode_bytes(b, kKept) - bench::decode_bytes(b, 0))) /
                          bench::copy_bytes_per_ms(b);
  const double rate =
      bench::batch_decode_rate(b, rows, kKept, adapters, r.quick ? 8 : 40) / r.slow_down;
  return 100 * floor_ms / (1e3 * rows / rate);
}
// Of the time of a step, what 16 adapters add.
template <int rows>
double adapter_cost(const Bench& b, const Run& r) {
  const int steps = r.quick ? 8 : 40;
  const double plain = bench::batch_decode_rate(b, rows, 4369, 0, steps);
  return 100 * (plain / bench::batch_decode_rate(b, rows, 4369, 16, steps) * r.slow_down - 1);
}
double question(const Bench& b, const Run& r) {
  return r.slow_down * bench::question_ms(b, 4369, 64, r.quick ? 5 : 25);
}
double soft_tokens(const Bench& b, const Run& r) {
  return r.slow_down * bench::soft_prefill_ms(b, 4369, r.quick ? 1 : 5);
}
double full(const Bench& b, const Run& r) {
  return bench::full_rate(b, 16, 8, r.quick ? 4 : 12).tokens_per_second / r.slow_down;
}
double compressor(const Bench& b, const Run& r) {
  return bench::compress_rate(b, 8, r.quick ? 1 : 5) / r.slow_down;
}
template <int batch, int kept_gib>
double lora(const Bench& b, const Run& r) {
  bench::Kept kept;
  if (kept_gib >= 0) {
    kept = {.checkpointing = model::Checkpointing::per_layer, .bytes = int64_t{kept_gib} << 30};
  }
  return bench::lora_rate(b, batch, kept, r.quick ? 2 : 10).tokens_per_second / r.slow_down;
}
double beacon(const Bench& b, const Run& r) {
  return bench::beacon_rate(b, 16, r.quick ? 5 : 30).tokens_per_second / r.slow_down;
}

constexpr int kAll = -1;  // layers keep their activations
constexpr GpuBar kBars[] = {
    {"prefill_4096", "llama2_7b", "ms", 102, false, prefill<4096>},
    {"prefill_32768", "llama2_7b", "ms", 1190, false, prefill<32'768>},
    {"prefill_131072", "llama2_7b", "ms", 10'900, false, prefill<131'072>, 100},
    {"soft_tokens_4369", "llama2_7b", "ms", 109, false, soft_tokens},
    {"question_4369", "llama2_7b", "ms", 12, false, question},
    {"decode_4096", "llama2_7b", "% of the copy floor", 86, true, decode_share<4096>},
    {"decode_32768", "llama2_7b", "% of the copy floor", 91, true, decode_share<32'768>},
    {"decode_131072", "llama2_7b", "% of the copy floor", 98, true, decode_share<131'072>},
    {"gqa_decode_4369", "llama31_8b", "% of the copy floor", 86, true, decode_share<4369>},
    {"gqa_decode_131072", "llama31_8b", "% of the copy floor", 87, true, decode_share<131'072>},
    {"small_decode_8192", "smollm2", "ms", 0.45, false, decode<8192>},
    {"small_prefill_8192", "smollm2", "ms", 12.5, false, prefill<8192>},
    {"batch_48", "llama2_7b", "% of the bytes-read limit", 60, true, batch_share<48, 16>},
    {"batch_48_adapters", "llama2_7b", "% of a step", 8, false, adapter_cost<48>},
    {"gqa_batch_64", "llama31_8b", "% of the bytes-read limit", 60, true, batch_share<64, 16>},
    {"gqa_batch_64_adapters", "llama31_8b", "% of a step", 8, false, adapter_cost<64>},
    {"compressor", "llama2_7b", "source tokens/s", 43'000, true, compressor},
    {"lora_recomputed", "llama2_7b", "tokens/s", 14'500, true, lora<1, 6>, 23},
    {"lora_kept", "llama2_7b", "tokens/s", 17'500, true, lora<2, kAll>, 60},
    {"full_training", "smollm2", "tokens/s", 330'000, true, full, 20},
    {"beacon_training", "smollm2", "tokens/s behind 20 steps that make plans", 350'000, true,
     beacon},
};

int run(const GpuBar& bar, const Options& options) {
  if (!backend::has_cuda()) {
    std::printf(
        "%s: needs an NVIDIA GPU and a build with the preset cuda; would measure %s, bar %g %s\n",
        bar.name, bar.model, bar.bar, bar.unit);
    return kNeedsGpu;
  }
  backend::ComputeDevice device;
  if (!device.is_gpu()) {
    std::printf("%s: needs an NVIDIA GPU (%s); would measure %s, bar %g %s\n", bar.name,
                device.note().c_str(), bar.model, bar.bar, bar.unit);
    return kNeedsGpu;
  }
  const model::Llama model =
      bench::random_model(device.context(backend::Compute::bf16), bench::config_named(bar.model));
  const double figure =
      bar.measure({device, model}, {.quick = options.quick, .slow_down = options.sabotage ? 4 : 1});
  const double gib = static_cast<double>(device.peak_gpu_bytes()) / (1 << 30);
  const bool fits = bar.most_gib == 0 || gib <= bar.most_gib;
  const bool holds = fits && (bar.at_least ? figure >= bar.bar : figure <= bar.bar);
  std::printf("%s\n%.1f GiB taken%s\n%s, %s: %.4g %s; the bar is %s %g\n",
              device.description().c_str(), gib,
              bar.most_gib == 0 ? "" : fmt::format(", {} allowed", bar.most_gib).c_str(), bar.name,
              bar.model, figure, bar.unit, bar.at_least ? "at least" : "at most", bar.bar);
  return holds ? kHolds : kShort;
}

}  // namespace
}  // namespace offbook::bars

int main(int argc, char** argv) {
  using namespace offbook::bars;
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--list") {
    for (const GpuBar& bar : kBars) {
      std::printf("%s\n", bar.name);
    }
    return 0;
  }
  for (const GpuBar& bar : kBars) {
    if (name == bar.name) {
      try {
        return run(bar, parse(argc, argv));
      } catch (const std::exception& e) {
        std::printf("%s: %s\n", bar.name, e.what());
        return kShort;
      }
    }
  }
  std::printf("usage: bar_gpu NAME [--quick] [--sabotage]; --list names them\n");
  return 2;
}
