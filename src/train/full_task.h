// Training of every weight of a model on token sequences.
#pragma once
#include <cstdint>
#include <vector>

#include "src/train/sequences.h"

namespace offbook::train {

struct FullTaskOptions {
  int32_t micro_batch_tokens = 2048;  // as LoraTaskOptions
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
  int64_t kept_layers = 0;  // with per_layer: the last layers, this many, keep their activations
};

// Trains the model's weights where they stand: each must be f32 or bf16 and own its memory (not
// mapped from a file). Of bf16 weights f32 copies are trained and rounded after each step. The
// model must not be used otherwise meanwhile.
class FullTask final : public SequenceTask {
 public:
  // The model must outlive it. InvalidArgument: no training sequence, one without target or longer
  // than the model's window, quantised weights.
  FullTask(const backend::ExecutionContext& ctx, const model::Llama& model,
           std::vector<TrainingSequence> training, std::vector<TrainingSequence> held_out,
           const FullTaskOptions& options);

  LossSum micro_batch(const Graph& g, uint64_t seed) override;
  std::optional<LossSum> evaluate(const Graph& g) override;

 private:
  SequencePass pass() const;

  FullTaskOptions options_;
};

// Parameters of all weights, named as their fields: "embedding", "layers.3.gate" ….
std::vector<Parameter> model_parameters(const backend::ExecutionContext& ctx,
                                        const model::Llama& model);

}  // namespace offbook::train
