// Training a beacon on shards with the task mix, from shards to a weights file: what
// `train-compressor beacon --shards` runs.
#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "src/compress/beacon/mixed_training.h"
#include "src/compress/beacon/reading_figures.h"
#include "src/compress/compressor.h"
#include "src/train/trainer.h"

namespace offbook::compress {

struct MixedJobOptions {
  std::filesystem::path shards;    // of `data build`
  std::filesystem::path held_out;  // shards of other documents
  nlohmann::json mix = nlohmann::json::object();
  std::filesystem::path out;   // the weights file; "OUT.state" beside it resumes a stopped run
  std::filesystem::path from;  // weights to start from; empty: new ones

  int64_t steps = 400;       // 0: `from` is measured and written as it is
  int32_t accumulation = 1;  // batches a step
  float lr = 1e-3f;
  int64_t rank = 32;  // of the writer's adapter, on all matrices; that of `from` is widened to it
  int64_t reader_rank = 0;  // of the reader's, on q, k, v, o; 0: the base reads
  uint64_t seed = 0;
  bool saves_memory = false;
  // Of a value of the adapters in the file: 8, 4, or 16: as trained, as `from` has it without
  // steps.
  int stored_bits = 16;
  int64_t evaluate_every = 0;  // steps; the best state is kept
  double save_seconds = 30;

  FigureOptions figures;  // measured at the end
  size_t held_out_windows = 24;
  QuestionOptions questions;  // on the held-out documents that have given ones
};

// After a step, beside what the trainer reports.
struct MixedStep {
  const train::StepReport& step;
  MixedBeaconTask::Log log;                                          // since the last report
  const std::array<train::LossSum, kTaskKinds>* held_out = nullptr;  // where the step was measured
};

struct MixedJobResult {
  train::TrainResult training;
  std::vector<ReadingFigures> reading;  // not measured when the run was stopped
  std::vector<QuestionFigures> questions;
  CompressorWeights weights;
  int64_t rows = 0;  // run through the model by this call
  uint64_t bytes = 0;
};

// Reads, trains, measures what was written, writes. A run that on_step stopped left its state; the
// same options go on from there with the same bits at the end on one kind of CPU. Errors: those of
// the parts; InvalidArgument when the state beside `out` is of other options. Memory: the model in
// bf16 (f32 where ctx computes in f32), 4 bytes a token of the shards, the activations of a batch.
MixedJobResult train_mixed_beacon(const backend::ExecutionContext& ctx, FileSystem& fs,
                                  const BaseModel& base, const MixedJobOptions& options,
                                  const std::function<bool(const MixedStep&)>& on_step);

// What a beacon file is worth, without training: the figures at the end of a run.
struct MixedFigures {
  std::vector<ReadingFigures> reading;
  std::vector<QuestionFigures> questions;
};
MixedFigures measure_mixed(const backend::ExecutionContext& ctx, const model::Llama& plain,
                           const text::Tokenizer& tokenizer, const BeaconWeights& weights,
                           const TrainingSet& held_out, const MixedJobOptions& options);

}  // namespace offbook::compress
