// Bar: what compression buys a large model in speed. LLaMA2-7B's shape with random weights, 131,072
// tokens at 30×: first token behind the raw text over first token behind 4,369 soft tokens ≥ 95,
// kept KV ≥ 30 times smaller, a decoded token ≥ 3.5 times faster; adapter training on examples of
// 32,768 tokens at 30× with a question of 64 ≥ 11.5 times the examples of the raw text. 3 without a
// GPU.
// --sabotage: no compression. --hf MS: the first token of another engine over the raw text,
// measured on the same machine, ≥ 107 times ours behind soft tokens.
//
// usage: bar_short_context [--hf MS] [--quick] [--sabotage]
#include "bench/bars/bar.h"
#include "bench/system/model_work.h"

#include <cstdio>
#include <string_view>

namespace offbook::bars {
namespace {

constexpr int32_t kText = 131'072;
constexpr int32_t kExample = 32'768;
constexpr int32_t kQuestion = 64;
constexpr int32_t kRatio = 30;

int run(const Options& options, double hf_ms) {
  backend::ComputeDevice device;
  if (!device.is_gpu()) {
    std::printf("needs an NVIDIA GPU and a build with the preset cuda: %s\n",
                device.note().c_str());
    return kNeedsGpu;
  }
  const model::Llama model =
      bench::random_model(device.context(backend::Compute::bf16), bench::llama2_7b());
  const bench::Bench b{.device = device, .model = model};
  const int32_t ratio = options.sabotage ? 1 : kRatio;
  const int runs = options.quick ? 1 : 3;
  const int steps = options.quick ? 10 : 50;
  bool holds = true;
  const auto judge = [&](const char* what, double figure, double bar) {
    std::printf("%s: %.2f (bar %.1f)\n", what, figure, bar);
    std::fflush(stdout);
    holds &= figure >= bar;
  };
  const double raw = bench::prefill_ms(b, kText, runs);
  const double soft = bench::prefill_ms(b, kText / ratio, runs);
  std::printf("first token: %.0f ms behind the text, %.1f behind %d soft tokens\n", raw, soft,
              kText / ratio);
  judge("first token, ours raw over ours compressed", raw / soft, 95);
  if (hf_ms > 0) {
    judge("first token, the other engine raw over ours compressed", hf_ms / soft, 107);
  }
  const auto kv = [&](int32_t kept) {
    return bench::decode_bytes(b, kept) - bench::decode_bytes(b, 0);
  };
  judge("bytes of kept KV", kv(kText) / kv(kText / ratio), 30);
  judge("a decoded token",
        bench::decode_ms(b, kText, steps) / bench::decode_ms(b, kText / ratio, steps), 3.5);
  const bench::Kept recomputed{.checkpointing = model::Checkpointing::per_layer,
                               .bytes = int64_t{6} << 30};
  const auto examples = [&](int32_t length) {
    return bench::lora_rate(b, 1, recomputed, options.quick ? 1 : 3, length).tokens_per_second /
           length;
  };
  judge("examples a second in training",
        examples(kExample / ratio + kQuestion) / examples(kExample), 11.5);
  return holds ? kHolds : kShort;
}

}  // namespace
}  // namespace offbook::bars

int main(int argc, char** argv) {
  try {
    double hf_ms = 0;
    for (int i = 1; i + 1 < argc; ++i) {
      hf_ms = std::string_view(argv[i]) == "--hf" ? std::stod(argv[i + 1]) : hf_ms;
    }
    return offbook::bars::run(offbook::bars::parse(argc, argv), hf_ms);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
