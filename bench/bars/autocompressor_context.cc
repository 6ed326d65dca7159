// Bar: an autocompressor on long contexts. Perplexity of the last 2,048 tokens behind 0, 512,
// 2,048, 4,096 and 6,144 compressed ones (segments of 2,048, all vectors of the table each), beside
// plain text read by the base; with --rmt a second file whose segments hand on their own vectors
// alone. Holds where perplexity falls with every longer context. --sabotage: contexts of another
// document.
//
// usage: bar_autocompressor_context --weights FILE [--rmt FILE] [--device D] [--windows N]
// [--quick] [--sabotage]
#include "bench/bars/bar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "src/autograd/functional.h"
#include "src/backend/compute_device.h"
#include "src/compress/autocompressor/autocompressor.h"
#include "src/compress/text_losses.h"
#include "src/compress/training_text.h"
#include "src/model/language_model.h"

namespace offbook {
namespace {

using compress::AutoSegment;
using compress::AutoWeights;
using Tokens = std::span<const int32_t>;

constexpr size_t kTarget = 2048;
constexpr size_t kSegment = 2048;
constexpr std::array<size_t, 5> kContexts = {0, 512, 2048, 4096, 6144};

struct Flags {
  bars::Options bar;
  std::string weights = "models/smollm2-135m-instruct/autocompressor.safetensors", rmt,
              device = "auto";
  size_t windows = 16;
};

Flags parse(int argc, char** argv) {
  Flags f{.bar = bars::parse(argc, argv)};
  f.windows = f.bar.quick ? 2 : f.windows;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string name = argv[i];
    f.weights = name == "--weights" ? argv[i + 1] : f.weights;
    f.rmt = name == "--rmt" ? argv[i + 1] : f.rmt;
    f.device = name == "--device" ? argv[i + 1] : f.device;
    f.windows = name == "--windows" ? std::stoul(argv[i + 1]) : f.windows;
  }
  return f;
}

class Measure {
 public:
  Measure(const backend::ExecutionContext& ctx, const model::Llama& base)
      : ctx_(ctx), base_(base) {}

  // Mean loss of the target behind a compressed context.
  double compressed(const AutoWeights& weights, Tokens context, Tokens target) const {
    backend::ArenaScope scope(*ctx_.arena);
    const autograd::Graph g{ctx_};
    Tensor before;
    for (size_t at = 0; at < context.size(); at += kSegment) {
      const AutoSegment segment{
          .before = before,
          .tokens = context.subspan(at, std::min(kSegment, context.size() - at)),
          .summary = static_cast<int32_t>(weights.summary.dim(0))};
      const Tensor vectors = run(g, weights, segment, &weights.lora).vectors;
      before = before.defined() && weights.carry == compress::Carry::accumulate
                   ? autograd::concat_rows(g, before, vectors)
                   : vectors;
    }
    return loss(g, weights, {.before = before, .tokens = target}, 1, &weights.lora);
  }

  // The same behind the text itself, by the base.
  double plain(const AutoWeights& weights, Tokens context, Tokens target) const {
    backend::ArenaScope scope(*ctx_.arena);
    const autograd::Graph g{ctx_};
    std::vector<int32_t> all(context.begin(), context.end());
    all.insert(all.end(), target.begin(), target.end());
    return loss(g, weights, {.tokens = all}, static_cast<int32_t>(context.size()) + 1, nullptr);
  }

 private:
  compress::AutoOutput run(const autograd::Graph& g, const AutoWeights& weights,
                           const AutoSegment& segment, const model::LoraAdapter* lora) const {
    return run_segments(g, base_, weights, std::span(&segment, 1),
                        {.lora = lora, .activations = ctx_.activations()})
        .front();
  }
  double loss(const autograd::Graph& g, const AutoWeights& weights, const AutoSegment& segment,
              int32_t first, const model::LoraAdapter* lora) const {
    const compress::TargetText scored{.tokens = segment.tokens, .first_target = first};
    return score_texts(g, run(g, weights, segment, lora).text, base_.weights().lm_head,
                       std::span(&scored, 1))
        .front()
        .mean();
  }

  const backend::ExecutionContext& ctx_;
  const model::Llama& base_;
};

int run(const Flags& flags) {
  const auto text_file = bars::data_directory() / "data/pretrain_heldout.jsonl.zst";
  for (const std::filesystem::path& needed : {std::filesystem::path(flags.weights), text_file}) {
    if (!std::filesystem::exists(needed)) {
      std::printf("missing: %s\n", needed.c_str());
      return bars::kMissing;
    }
  }
  FileSystem& fs = real_file_system();
  backend::ComputeDevice device({.name = flags.device});
  const backend::ExecutionContext ctx = device.context(backend::Compute::bf16);
  const model::LanguageModel model(fs, bars::model_directory() / "smollm2-135m-instruct", ctx, {});
  const model::Llama base(ctx, model.config(),
                          dequantised(ctx, model.llama().weights(), Dtype::bf16));
  compress::TrainingText text;
  compress::read_training_text(fs, text_file, model.tokenizer(), {}, text);
  const auto windows = text.held_out(flags.windows, kContexts.back() + kTarget);
  const auto others = compress::other_documents(windows);
  const Measure measure(ctx, base);
  bool holds = true;
  for (const std::string& file : {flags.weights, flags.rmt}) {
    if (file.empty()) {
      continue;
    }
    const AutoWeights weights = compress::on_device(
        ctx, compress::take_autocompressor(compress::load_weights(fs, file, model.fingerprint()),
                                           model.config()));
    double last = 1e9;
    for (const size_t length : kContexts) {
      double own = 0;
      double plain = 0;
      for (size_t i = 0; i < windows.size(); ++i) {
        const Tokens all(windows[i].tokens);
        const Tokens target = all.last(kTarget);
        const Tokens right = all.subspan(all.size() - kTarget - length, length);
        const Tokens wrong =
            Tokens(windows[others[i]].tokens).subspan(all.size() - kTarget - length, length);
        own += measure.compressed(weights, flags.bar.sabotage ? wrong : right, target);
        plain += measure.plain(weights, right, target);
      }
      const auto n = static_cast<double>(windows.size());
      std::printf("%-11s %5zu compressed: perplexity %.3f; plain text %.3f (%zu windows)\n",
                  weights.carry == compress::Carry::accumulate ? "accumulated" : "replaced", length,
                  std::exp(own / n), std::exp(plain / n), windows.size());
      std::fflush(stdout);
      holds = holds && (file != flags.weights || own / n < last);
      last = own / n;
    }
  }
  return holds ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  try {
    return offbook::run(offbook::parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
