// Training an in-context autoencoder: autoencoding, continuation, instructions (arXiv 2307.06945,
// sections 2.2 and 2.3).
#pragma once
#include <vector>

#include "src/base/random.h"
#include "src/compress/data/shards.h"
#include "src/compress/icae/icae.h"
#include "src/compress/memory_losses.h"
#include "src/compress/training_text.h"
#include "src/train/trainer.h"

namespace offbook::compress {

struct IcaeTrainingOptions {
  int32_t windows = 16;           // a batch: one pass of writing, one of reading
  int32_t ratio = 4;              // tokens a slot
  int32_t shortest = 64;          // tokens of a span; the longest is ratio × memory tokens
  int32_t continuation = 256;     // tokens continued
  double autoencode_share = 0.5;  // of windows; 0.4 to 0.6 was best in the paper
  double instruct_share = 0;      // of windows: a question on the text, where it has any
  int32_t most_spans = 3;         // of windows that are continued or asked about
  int32_t end_token = 0;          // behind an autoencoded text
  model::Checkpointing checkpointing = model::Checkpointing::none;
  Dtype activations = Dtype::f32;
};

// Trains adapter, memory rows and task rows in place; a batch's loss is the mean over its targets.
// Everything drawn comes from the step's seed.
class IcaeTrainingTask final : public train::TrainingTask {
 public:
  // All must outlive it; matrices of `base` are plain numbers (dequantised()). InvalidArgument for
  // options that contradict each other or the model's window, and for a set without text.
  IcaeTrainingTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                   IcaeWeights& weights, const TrainingSet& training,
                   const IcaeTrainingOptions& options);

  std::vector<train::Parameter>& parameters() override { return parameters_; }
  train::LossSum micro_batch(const Graph& g, uint64_t seed) override;
  std::optional<train::LossSum> evaluate(const Graph&) override { return std::nullopt; }
  int64_t rows_seen() const { return rows_; }

 private:
  struct Window;
  Window draw(Random& random) const;

  const model::Llama& base_;
  IcaeWeights& weights_;
  const TrainingSet& training_;
  IcaeTrainingOptions options_;
  std::vector<double> ends_;  // running sums of weight × tokens
  std::vector<train::Parameter> parameters_;
  int64_t rows_ = 0;
};

struct IcaeMeasureOptions {
  int32_t ratio = 4;
  int32_t context = 512;
  int32_t continuation = 128;
  int32_t end_token = 0;
};

struct IcaeFigures {
  MemoryFigures memory;         // continuation behind right, other and no slots
  double autoencode = 0;        // loss a token of the text behind its own slots
  double autoencode_other = 0;  // behind another document's
};

IcaeFigures measure_icae(const backend::ExecutionContext& ctx, const model::Llama& base,
                         const IcaeWeights& weights,
                         const std::vector<TrainingText::Window>& windows,
                         const IcaeMeasureOptions& options);

// Slots of a text, span by span. f32 or bf16 [n, hidden] in the arena.
Tensor icae_slots(const Graph& g, const model::Llama& writer, const IcaeWeights& weights,
                  std::span<const int32_t> tokens, int32_t ratio, const AutoPassOptions& options);

}  // namespace offbook::compress
