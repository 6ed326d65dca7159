// A packed batch of memories and of what is read behind them: several windows written in one pass
// and read in one pass. Memories are rows picked from whatever was written, in any order, so that
// joined, shuffled and picked slots, other documents' slots and raw text are all the same thing.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/compress/beacon/beacon.h"
#include "src/compress/text_losses.h"

namespace offbook::compress {

// Text that becomes rows of keys and values.
struct ReadingSource {
  std::vector<int32_t> tokens;  // at least one
  int32_t ratio = 8;            // tokens a slot; 0: raw text, a row a token, read by the reader
  bool has_sink = true;         // token 0 in front; its row is kept and is row 0
};

// Rows of one source in the order they are joined. Rows count from 0, the sink, where there is one.
struct MemoryPiece {
  int32_t source = 0;
  std::vector<int32_t> rows;
};

struct Memory {
  std::vector<MemoryPiece> pieces;
};

// Something to read behind a memory. Scored from first_target on, if there are targets.
struct Reading {
  int32_t memory = 0;
  std::vector<int32_t> tokens;
  int32_t first_target = 1;  // tokens.size(): nothing is scored
  float weight = 1;
  float first_weight = 1;
  int32_t kind = 0;  // the caller's; sums are kept by it
  // Raw text, sink included, that the base reads in front of `tokens` to say what comes next: in
  // training its distribution stands in place of the tokens themselves. Empty: no teacher.
  std::vector<int32_t> teacher_text;
};

struct ReadingBatch {
  std::vector<ReadingSource> sources;
  std::vector<Memory> memories;
  std::vector<Reading> readings;

  int32_t rows_of(int32_t source) const;  // that it leaves
  // All rows of a source, with its sink or without it.
  MemoryPiece all_of(int32_t source, bool with_sink) const;
  int64_t written_tokens() const;  // slots and sinks included
  int64_t read_tokens() const;
};

struct ReadingModel {
  const model::Llama& base;  // matrices are plain numbers
  // The base with the writer's adapter merged; null: `base` under weights.lora.
  const model::Llama* writer = nullptr;
  const BeaconWeights& weights;
  const model::LoraAdapter* reader =
      nullptr;  // read raw text and readings under it; null: the base
  model::Checkpointing checkpointing = model::Checkpointing::none;
  Dtype activations = Dtype::f32;
  // 8 or 4: slots are read as a file of that precision gives them back (store/kv_quantise.h). No
  // gradient passes through.
  int kv_bits = 16;
};

// The memories' rows, one memory behind another: what read_tasks() takes as slots.
struct WrittenMemories {
  model::LayerKv kv;
  std::vector<SlotRange> ranges;  // one a memory
};

// Cost: one pass over the slot sources, one over the raw ones.
WrittenMemories write_memories(const Graph& g, const ReadingModel& model,
                               const ReadingBatch& batch);

// Losses of each reading's tokens, not weighted; with a tape, the gradient of the weighted sum is
// seeded, and where a reading has a teacher, one more forward pass of the base runs over its text.
std::vector<train::LossSum> read_batch(const Graph& g, const ReadingModel& model,
                                       const ReadingBatch& batch);

// The likeliest continuation of each reading's tokens, up to `most` tokens, ended by one of `stops`
// (left out). All are read side by side; every step reads them anew: for a few dozen short
// questions, not for service.
std::vector<std::vector<int32_t>> greedy_answers(const backend::ExecutionContext& ctx,
                                                 const ReadingModel& model,
                                                 const ReadingBatch& batch, int32_t most,
                                                 std::span<const int32_t> stops);

}  // namespace offbook::compress
