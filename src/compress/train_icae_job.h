// Training an in-context autoencoder on shards, to a weights file: what `train-compressor icae`
// runs.
#pragma once
#include <filesystem>
#include <functional>

#include "src/compress/icae/training.h"
#include "src/train/trainer.h"

namespace offbook::compress {

struct IcaeJobOptions {
  std::filesystem::path shards;    // of `data build`
  std::filesystem::path held_out;  // shards of other documents
  std::filesystem::path out;       // the weights file; "OUT.state" beside it resumes a stopped run
  int64_t steps = 400;
  int32_t accumulation = 1;  // batches a step
  float lr = 5e-4f;
  int64_t rank = 32;  // of the encoder's adapter, on q and v
  uint64_t seed = 0;
  int32_t memory_tokens = 128;
  int32_t windows = 16;  // a batch
  int32_t ratio = 4;
  double autoencode_share = 0.5;
  double instruct_share = 0;
  bool saves_memory = false;
  int stored_bits = 16;
  size_t held_out_windows = 24;  // of ratio × memory tokens + 128
};

struct IcaeJobResult {
  train::TrainResult training;
  IcaeFigures figures;  // not measured when the run was stopped
  CompressorWeights weights;
  int64_t rows = 0;
  uint64_t bytes = 0;
};

// As train_mixed_beacon(): reads, trains, measures what was written, writes; stopped runs go on.
IcaeJobResult train_icae(const backend::ExecutionContext& ctx, FileSystem& fs,
                         const BaseModel& base, const IcaeJobOptions& options,
                         const std::function<bool(const train::StepReport&)>& on_step);

nlohmann::json to_json(const IcaeFigures& figures);

}  // namespace offbook::compress
