// The training loop: every job of offbook that changes weights runs on it. It knows no method: a
// task computes losses for a batch.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/base/file_system.h"
#include "src/train/optimizer.h"

namespace offbook::train {

using autograd::Graph;

// Sum of losses and how many targets it is over.
struct LossSum {
  double sum = 0;
  double count = 0;
  double mean() const { return count > 0 ? sum / count : 0; }
};

// What is trained, and on what. Everything random is drawn from the step's seed, so that a run that
// was stopped and resumed sees the same batches.
class TrainingTask {
 public:
  virtual ~TrainingTask() = default;
  // Called once; values are shared with the task's model.
  virtual std::vector<Parameter>& parameters() = 0;
  // Runs one micro-batch forward on g's tape and puts the gradient of the SUM of its losses into
  // the tape's targets (the loop calls backward and divides by the counts), or walks back itself on
  // tapes within that one. Same seed, same batch.
  virtual LossSum micro_batch(const Graph& g, uint64_t seed) = 0;
  // How many micro-batches of a step may run as one pass, where that is faster and memory allows.
  virtual int32_t at_once() const { return 1; }
  // Up to at_once() micro-batches as one: the sums of their losses and gradients, up to rounding.
  virtual LossSum micro_batches(const Graph& g, std::span<const uint64_t> seeds) {
    OB_CHECK(seeds.size() == 1);
    return micro_batch(g, seeds.front());
  }
  // Held-out losses without a tape; nullopt when there is no held-out part.
  virtual std::optional<LossSum> evaluate(const Graph& g) = 0;
};

struct TrainerOptions {
  int64_t steps = 100;
  int32_t accumulation = 1;  // micro-batches a step
  float lr = 1e-3f;
  float warmup_share = 0.04f;  // of the steps
  float lr_floor = 0;          // share of lr at the end
  AdamwOptions adamw;
  uint64_t seed = 0;
  int64_t evaluate_every = 0;  // steps; 0: only at the end
  int32_t patience = 0;        // evaluations without improvement before stopping early; 0: never
  // Where the state goes so that the run can go on after a kill; empty: nowhere.
  std::filesystem::path checkpoint;
  int64_t save_every = 50;   // steps
  double save_seconds = 30;  // or this much time since the last one, whichever comes first
  std::string recipe;        // what the run is; a checkpoint of another recipe is refused
};

struct StepReport {
  int64_t step = 0;  // from 1
  double loss = 0;   // mean over the step's targets
  double gradient_norm = 0;
  float lr = 0;
  int64_t targets = 0;
  std::optional<double> held_out;
};

enum class TrainEnd : uint8_t { finished, early_stop, cancelled, diverged };

struct TrainResult {
  TrainEnd end = TrainEnd::finished;
  int64_t steps = 0;  // done, those of earlier runs included
  double last_loss = 0;
  std::optional<double> best_held_out;
};

// Trains until a TrainEnd; `on_step` returns false to stop (state saved first). Parameters end at
// the best held-out state if there is a held-out part, else at the last. A loss or gradient that is
// not finite ends the run as `diverged` with the last good state. Resumes from options.checkpoint
// when it is there: the same bits as an undisturbed run on the same kind of CPU. Errors: Corrupt or
// InvalidArgument (another recipe) for the checkpoint, Io when it cannot be written.
TrainResult train(const backend::ExecutionContext& ctx, FileSystem& fs, TrainingTask& task,
                  const TrainerOptions& options,
                  const std::function<bool(const StepReport&)>& on_step);

}  // namespace offbook::train
