// Training an autocompressor: segments of a long text in turn, each predicted behind the summary
// vectors of those before it (arXiv 2305.14788, section 3.2).
#pragma once
#include <vector>

#include "src/compress/autocompressor/autocompressor.h"
#include "src/compress/memory_losses.h"
#include "src/compress/training_text.h"
#include "src/train/trainer.h"

namespace offbook::compress {

struct AutoTrainingOptions {
  int32_t sequence = 6144;  // tokens of a training text
  // The sequence is cut in equal slices, a slice in segments. Gradients flow within a slice and
  // stop between slices (truncated back-propagation), so of a slice's vectors all but the last
  // segment's learn.
  int32_t slices = 2;
  int32_t segments_per_slice = 2;
  int32_t longest_segment = 4096;  // where segments are cut at random: none is longer
  int32_t at_once = 1;             // texts of a step that run as one pass
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
};

// Lengths of `count` segments that add up to `tokens`, cut at random: each gets
// max(⌈(tokens − longest) / (count − 1)⌉, 2), and distinct uniform breakpoints divide the rest.
std::vector<int32_t> random_segments(Random& random, int32_t tokens, int32_t count,
                                     int32_t longest);

// Trains lora and summary of `weights` in place on next-token loss over all tokens of a sequence.
// Everything drawn comes from the step's seed.
class AutoTask final : public train::TrainingTask {
 public:
  // All must outlive it; matrices of `base` are plain numbers (dequantised()). `held_out`: windows
  // of at least `sequence` tokens. InvalidArgument for options that contradict each other or the
  // model's window.
  AutoTask(const backend::ExecutionContext& ctx, const model::Llama& base, AutoWeights& weights,
           const TrainingText& training, std::vector<TrainingText::Window> held_out,
           const AutoTrainingOptions& options);

  std::vector<train::Parameter>& parameters() override { return parameters_; }
  train::LossSum micro_batch(const Graph& g, uint64_t seed) override;
  int32_t at_once() const override { return options_.at_once; }
  train::LossSum micro_batches(const Graph& g, std::span<const uint64_t> seeds) override;
  // Losses of the held-out windows in equal segments.
  std::optional<train::LossSum> evaluate(const Graph& g) override;

 private:
  struct Sequence;
  train::LossSum run(const Graph& g, std::span<Sequence> texts);

  const model::Llama& base_;
  AutoWeights& weights_;
  const TrainingText& training_;
  std::vector<TrainingText::Window> held_out_;
  AutoTrainingOptions options_;
  std::vector<train::Parameter> parameters_;
};

struct AutoMeasureOptions {
  int32_t ratio = 30;  // tokens a vector
  int32_t context = 1500;
  int32_t continuation = 512;
};

// Losses of continuations behind right, other and no memory; all are read under the adapter. The
// context is written in parts as the compressor does it. Cost: about 4 × (context + continuation)
// rows a window.
MemoryFigures measure_autocompressor(const backend::ExecutionContext& ctx, const model::Llama& base,
                                     const AutoWeights& weights,
                                     const std::vector<TrainingText::Window>& windows,
                                     const AutoMeasureOptions& options);

}  // namespace offbook::compress
