// Training a compressor from text files to a weights file: what `train-compressor` and its bar run.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "src/compress/compressor.h"
#include "src/compress/memory_losses.h"
#include "src/compress/training_text.h"
#include "src/train/trainer.h"

namespace offbook::compress {

// Defaults are for two CPU cores and half an hour with a model of 135M parameters.
struct TrainJobOptions {
  std::string method = "beacon";            // or "autocompressor"
  std::vector<std::filesystem::path> text;  // as read_training_text() takes them
  std::vector<std::filesystem::path>
      held_out;           // of other documents; at least two of `context` + `continuation`
  double text_share = 1;  // of the documents of `text`
  int64_t max_tokens = 64'000'000;  // of `text`
  // In place of text and held_out: what `offbook data build` wrote, files or folders.
  std::filesystem::path shards, held_out_shards;
  int stored_bits = 16;       // a value of the adapter in the file: 16, 8 or 4
  std::filesystem::path out;  // the weights file; "OUT.state" beside it resumes a stopped run

  int64_t steps = 400;
  int32_t accumulation = 1;
  float lr = 1e-3f;
  int64_t rank = 4;  // 2.4 MB of bf16 for SmolLM2-135M
  uint64_t seed = 0;
  bool saves_memory = false;  // activations are computed twice and a layer at a time is kept

  int32_t context = 512;       // tokens compressed in a window
  int32_t continuation = 128;  // tokens continued
  // beacon
  std::vector<int32_t> ratios = {8, 16, 32};
  int32_t recall_spans = 2;  // of 128 tokens, or of half the context where that is less
  int32_t recall_token = 9;  // announces a recalled span
  // autocompressor
  int32_t summary_tokens = 16;
  int32_t summary_ratio = 30;     // at which it is measured
  bool replaces_vectors = false;  // a segment hands on its own vectors alone, as an RMT does

  size_t held_out_windows = 24;  // measured before and after
};

struct TrainJobResult {
  train::TrainResult training;
  std::vector<MemoryFigures> untrained;  // not measured when the run was stopped
  std::vector<MemoryFigures> trained;
  CompressorWeights weights;
  uint64_t bytes = 0;  // of the file
};

// Reads, measures, trains, measures what was written, writes. A run that on_step stopped
// (TrainEnd::cancelled) left its state; the same options go on from there, with the same bits at
// the end. Errors: those of the parts; InvalidArgument when the state beside `out` is of other
// options. Memory: the model in bf16 (f32 where ctx computes in f32), 4 bytes a token of text,
// activations of a window.
TrainJobResult train_compressor(const backend::ExecutionContext& ctx, FileSystem& fs,
                                const BaseModel& base, const TrainJobOptions& options,
                                const std::function<bool(const train::StepReport&)>& on_step);

}  // namespace offbook::compress
