// Activation Beacon (arXiv 2401.03462) in the form of METHOD.md beside this file: a slot after
// every `ratio` tokens; the slots' keys and values in every layer are what is kept of the text.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/model/llama.h"

namespace offbook::compress {

using autograd::Graph;

inline constexpr int32_t kSink =
    0;  // token 0 stands first: attention sinks there (arXiv 2309.17453)

// What training changes. The writer is the base model with `lora` at every position of the writing
// pass; the reader is the base, or the base with `reader`.
struct BeaconWeights {
  model::LoraAdapter lora;
  std::vector<int32_t> ratios;  // those it was trained for, rising
  Tensor slot;                  // f32 [ratios, hidden]: input of a slot
  Tensor pool;                  // f32 [1]: × the mean embedding of the tokens a slot closes
  model::LoraAdapter reader;    // of who reads slots; no layers: the base itself

  // What passes that read slots run under; null: the base.
  const model::LoraAdapter* reader_or_null() const {
    return reader.layers.empty() ? nullptr : &reader;
  }
};

// Index of the trained ratio nearest to this one (as a quotient): whose slot vector stands in.
int64_t nearest_ratio(const BeaconWeights& weights, int32_t ratio);

// Rows of a LayerKv that belong to one segment: its sink if it keeps one, then its slots in order.
// The last slot closes whatever tokens are left.
struct SlotRange {
  int32_t begin = 0;
  int32_t count = 0;  // (1 +) ceil(tokens / ratio)
};

struct BeaconSegment {
  std::span<const int32_t> tokens;  // at least one
  int32_t ratio = 8;                // ≥ 1
  // Of several segments that are read together only the first keeps its sink; then their ranges lie
  // one behind the other and may be read as one.
  bool keeps_sink = true;
  // Rows of WriteOptions::prior (sink first) that are read before the tokens, in place of a sink of
  // its own; keeps_sink must be false.
  SlotRange prior;
};

struct WrittenSlots {
  model::LayerKv kv;              // keys before RoPE
  std::vector<SlotRange> ranges;  // one a segment
};

struct WriteOptions {
  // The writer's adapter, unmerged (training); null when `writer` holds merged weights or the base.
  const model::LoraAdapter* lora = nullptr;
  const model::LayerKv* prior = nullptr;  // what segments name as their prior
  model::Checkpointing checkpointing = model::Checkpointing::none;
  Dtype activations = Dtype::f32;
};

// Runs segments, packed, through the writer: each behind the sink token 0, or behind its prior.
// Token ids must be in the vocabulary. Differentiable in lora, slot and pool. Cost: one pass over
// tokens · (1 + 1/ratio) rows.
WrittenSlots write_slots(const Graph& g, const model::Llama& writer, const BeaconWeights& weights,
                         std::span<const BeaconSegment> segments, const WriteOptions& options);

// Keys and values of the sink (where a segment keeps one; else its own first token is) and plain
// tokens: raw text in the place of slots, for comparison.
WrittenSlots write_raw(const Graph& g, const model::Llama& model,
                       std::span<const BeaconSegment> segments, const WriteOptions& options);

// Something to read behind slots.
struct ReadTask {
  std::span<const int32_t> tokens;
  SlotRange slots;  // rows of the prefix it sees
};

struct ReadOptions {
  model::PassOptions pass;
  Dtype activations = Dtype::f32;
};

// Hidden states [sum of tasks' tokens, hidden] of tasks that each read their slots and themselves,
// at positions slots.count, slots.count + 1, …. Differentiable in the slots.
Tensor read_tasks(const Graph& g, const model::Llama& reader, const model::LayerKv& slots,
                  std::span<const ReadTask> tasks, const ReadOptions& options);

}  // namespace offbook::compress
