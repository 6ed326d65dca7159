// How many rows of a training pass fit a GPU, and what is kept of them.
#pragma once
#include "src/model/llama.h"

namespace offbook::model {

struct PassWish {
  int64_t least_rows = 1;  // of one sequence: cannot be split
  int64_t most_rows = 1;   // of a step
  bool saves_memory = false;
};

struct PassPlan {
  int64_t rows = 1;  // at least least_rows
  Checkpointing checkpointing = Checkpointing::none;
};

// Bytes that training keeps of a row until its gradient: activations of all layers, or the residual
// stream and one layer's. Counted from the operations of a layer, with gradients in flight.
int64_t kept_bytes(const ModelConfig& config, Dtype activations, Checkpointing checkpointing);

// Enough rows to fill a GPU, all activations kept where at least one sequence fits so;
// recomputation else. What does not fit even so is tried: the allocator's error names sizes.
PassPlan plan_pass(const backend::ExecutionContext& ctx, const ModelConfig& config,
                   const PassWish& wish);

}  // namespace offbook::model
