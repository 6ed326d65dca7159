// The memories of several training windows, written in as few passes as the windows allow.
#pragma once
#include <span>
#include <vector>

#include "src/compress/beacon/training.h"

namespace offbook::compress {

struct WindowMemories {
  model::LayerKv kv;              // keys before RoPE
  std::vector<SlotRange> ranges;  // one a window: its sink and all its slots, in order
};

// Segments of windows that are written alone, and first segments, share one pass; second segments
// that read the slots before them share the next, and so on. A window alone runs as it would in
// company, up to the rounding of products of another size. Differentiable as write_slots.
WindowMemories write_windows(const Graph& g, const model::Llama& writer,
                             const BeaconWeights& weights, std::span<const BeaconWindow> windows,
                             const WriteOptions& options);

}  // namespace offbook::compress
