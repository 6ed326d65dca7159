// Training a beacon, and with it the reader where it has an adapter, on the mix of task_mix.h.
#pragma once
#include <array>
#include <vector>

#include "src/compress/beacon/task_mix.h"
#include "src/train/trainer.h"

namespace offbook::compress {

struct MixedTrainingOptions {
  int32_t held_out_batches = 4;
  model::Checkpointing checkpointing = model::Checkpointing::none;
  Dtype activations = Dtype::f32;
};

// Trains lora, slot and pool of `weights`, and `reader`, in place. A batch is one packed pass of
// writing and one of reading. The loss of a step is the mean over targets, weighted as the mix
// says (first_weight is in the gradient, not in the figure). Everything drawn comes from the step's
// seed.
class MixedBeaconTask final : public train::TrainingTask {
 public:
  // All must outlive it; matrices of `base` are plain numbers (dequantised()). `reader` may be
  // null: the base reads. `held_out` may be null; its batches are the same every time.
  MixedBeaconTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                  BeaconWeights& weights, const model::LoraAdapter* reader,
                  const TaskSampler& training, const TaskSampler* held_out,
                  const MixedTrainingOptions& options);

  std::vector<train::Parameter>& parameters() override { return parameters_; }
  train::LossSum micro_batch(const Graph& g, uint64_t seed) override;
  std::optional<train::LossSum> evaluate(const Graph& g) override;

  // Sums by TaskKind and rows run since the last call.
  struct Log {
    std::array<train::LossSum, kTaskKinds> kinds;
    int64_t written = 0, read = 0;
  };
  Log take_log();
  const std::array<train::LossSum, kTaskKinds>& held_out() const { return held_out_sums_; }
  int64_t rows_seen() const { return rows_; }  // by this object

 private:
  train::LossSum run(const Graph& g, const ReadingBatch& batch,
                     std::array<train::LossSum, kTaskKinds>& kinds);

  const model::Llama& base_;
  BeaconWeights& weights_;
  const model::LoraAdapter* reader_;
  const TaskSampler& training_;
  const TaskSampler* held_out_;
  MixedTrainingOptions options_;
  std::vector<train::Parameter> parameters_;
  Log log_;
  std::array<train::LossSum, kTaskKinds> held_out_sums_;
  int64_t rows_ = 0;
};

}  // namespace offbook::compress
