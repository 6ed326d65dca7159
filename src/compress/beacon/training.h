// Training a beacon: the writer learns slots from which the frozen base continues the text and
// recalls parts of it.
#pragma once
#include <algorithm>
#include <vector>

#include "src/compress/beacon/beacon.h"
#include "src/compress/memory_losses.h"
#include "src/compress/training_text.h"
#include "src/train/trainer.h"

namespace offbook::compress {

// What a window asks for beside its continuation: a span of the context after a token that
// announces it and the span's first `cue` tokens, which are not scored.
struct RecallOptions {
  int32_t spans = 4;  // 0: none
  int32_t length = 128;
  int32_t cue = 8;
  int32_t token = 9;  // of SmolLM2's vocabulary a control token that no text uses
  float weight = 1;   // of the mean recall loss beside the mean continuation loss
};

struct BeaconTrainingOptions {
  // Lengths of the segments of a training window's context, one list drawn a window.
  std::vector<std::vector<int32_t>> layouts = {
      {1536}, {1024}, {2048}, {768, 768}, {1024, 1536}, {1536, 1024}, {512, 1024, 1024}};
  std::vector<double> ratio_shares = {0.3, 0.2, 0.5};  // how often each ratio is drawn
  double behind_prior_share =
      0.5;  // of windows of several segments: each reads the slots before it
  int32_t continuation = 512;
  RecallOptions recall;
  int32_t windows = 1;  // a micro-batch
  // Windows that share a pass, in training and evaluation: one keeps memory and results as they are
  // on a CPU, a GPU wants some 30,000 rows.
  int32_t at_once = 1;
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
};

// Everything that is drawn for one training window.
struct BeaconWindow {
  std::vector<int32_t> tokens;  // context and continuation
  std::vector<int32_t> layout;  // lengths of the context's segments
  int32_t ratio = 8;
  bool is_behind_prior =
      false;  // each segment reads the slots before it; else all are written alone
  std::vector<int32_t> recalls;  // where in the context recalled spans begin
};

// A window's loss; with a tape, seeds its gradient. `weights` and `base` must outlive backward.
train::LossSum beacon_window_loss(const Graph& g, const model::Llama& base,
                                  const BeaconWeights& weights, const BeaconWindow& window,
                                  const BeaconTrainingOptions& options);
// The same for windows that share their passes.
train::LossSum beacon_window_losses(const Graph& g, const model::Llama& base,
                                    const BeaconWeights& weights,
                                    std::span<const BeaconWindow> windows,
                                    const BeaconTrainingOptions& options);

// Trains lora, slot and pool of `weights` in place. Loss of a window: mean continuation loss +
// weight × mean recall loss; a step's loss is their mean over windows, weighted by continuation
// targets. Everything drawn comes from the step's seed.
class BeaconTask final : public train::TrainingTask {
 public:
  // All must outlive it; matrices of `base` are plain numbers (dequantised()). `held_out`: windows
  // of at least the first layout and a continuation. InvalidArgument for text shorter than a
  // window, options that contradict each other, windows that do not fit the model.
  BeaconTask(const backend::ExecutionContext& ctx, const model::Llama& base, BeaconWeights& weights,
             const TrainingText& training, std::vector<TrainingText::Window> held_out,
             const BeaconTrainingOptions& options);

  std::vector<train::Parameter>& parameters() override { return parameters_; }
  train::LossSum micro_batch(const Graph& g, uint64_t seed) override;
  int32_t at_once() const override { return std::max(1, options_.at_once / options_.windows); }
  train::LossSum micro_batches(const Graph& g, std::span<const uint64_t> seeds) override;
  // Losses of the held-out windows, ratios taking turns, in the first layout.
  std::optional<train::LossSum> evaluate(const Graph& g) override;

  // Tokens an average micro-batch runs through the model, those of written and of read text.
  double tokens_per_micro_batch() const;

 private:
  BeaconWindow draw(Random& random) const;
  train::LossSum run(const Graph& g, std::span<const BeaconWindow> windows);

  const model::Llama& base_;
  BeaconWeights& weights_;
  const TrainingText& training_;
  std::vector<TrainingText::Window> held_out_;
  BeaconTrainingOptions options_;
  std::vector<train::Parameter> parameters_;
};

struct BeaconMeasureOptions {
  int32_t context = 1536;
  int32_t continuation = 512;
  RecallOptions recall{.spans = 1};
  uint64_t seed = 5;  // of the recalled spans
};

// Losses behind right, other and no memory at every ratio of `weights`, each window of context +
// continuation tokens written alone. Cost: about 5 × (context + continuation) rows of the model a
// window and ratio.
std::vector<MemoryFigures> measure_beacon(const backend::ExecutionContext& ctx,
                                          const model::Llama& base, const BeaconWeights& weights,
                                          const std::vector<TrainingText::Window>& windows,
                                          const BeaconMeasureOptions& options);

}  // namespace offbook::compress
