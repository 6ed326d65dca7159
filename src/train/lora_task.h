// Supervised training of a LoRA adapter on token sequences: packed, without padding.
#pragma once
#include <cstdint>
#include <vector>

#include "src/train/sequences.h"

namespace offbook::train {

struct LoraTaskOptions {
  int32_t micro_batch_tokens = 2048;  // sequences are packed up to this many; one longer runs alone
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
  // With per_layer: as many layers as fit in here keep their activations instead of running twice.
  int64_t kept_bytes = int64_t{1} << 30;
  // On a CPU a micro-batch is cut into passes whose layers all fit in there, where such a pass has
  // at least so many rows: fewer do not pay for reading the weights once more.
  int64_t fewest_rows = 128;
};

// Trains `adapter`'s factors in place on a frozen base whose matrices are plain numbers
// (dequantised()). A micro-batch holds different sequences in random order, up to the first that
// does not fit.
class LoraTask final : public SequenceTask {
 public:
  // The model and the adapter must outlive it. InvalidArgument: no training sequence, a sequence
  // without target or longer than the model's window.
  LoraTask(const backend::ExecutionContext& ctx, const model::Llama& model,
           model::LoraAdapter& adapter, std::vector<TrainingSequence> training,
           std::vector<TrainingSequence> held_out, const LoraTaskOptions& options);

  LossSum micro_batch(const Graph& g, uint64_t seed) override;
  std::optional<LossSum> evaluate(const Graph& g) override;

 private:
  SequencePass pass_of(int64_t rows) const;
  int64_t rows_that_keep_all(const Graph& g) const;

  const model::LoraAdapter& adapter_;
  LoraTaskOptions options_;
};

// Parameters of all factors of an adapter, "layers.3.q_proj.a" ….
std::vector<Parameter> lora_parameters(const backend::ExecutionContext& ctx,
                                       const model::LoraAdapter& adapter);

}  // namespace offbook::train
