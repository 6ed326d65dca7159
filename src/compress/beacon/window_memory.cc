#include "src/compress/beacon/window_memory.h"

#include <numeric>

#include "src/autograd/functional.h"

namespace offbook::compress {
namespace {

model::LayerKv joined(const Graph& g, const model::LayerKv& a, const model::LayerKv& b) {
  model::LayerKv out;
  for (size_t layer = 0; layer < a.k.size(); ++layer) {
    out.k.push_back(autograd::concat_rows(g, a.k[layer], b.k[layer]));
    out.v.push_back(autograd::concat_rows(g, a.v[layer], b.v[layer]));
  }
  return out;
}

// The segments of a window's context.
std::vector<BeaconSegment> segments_of(const BeaconWindow& window) {
  std::vector<BeaconSegment> out;
  size_t at = 0;
  for (const int32_t length : window.layout) {
    out.push_back({.tokens = std::span(window.tokens).subspan(at, static_cast<size_t>(length)),
                   .ratio = window.ratio,
                   .keeps_sink = out.empty()});
    at += static_cast<size_t>(length);
  }
  return out;
}

// What is written so far: rows in the order of the passes, and where each window's are.
class Memories {
 public:
  Memories(const Graph& g, size_t windows) : g_(g), rows_(windows) {}

  // Rows of a pass: ranges[i] belongs to window owners[i].
  void append(const WrittenSlots& written, std::span<const size_t> owners) {
    const auto before = static_cast<int32_t>(kv_.tokens());
    kv_ = before == 0 ? written.kv : joined(g_, kv_, written.kv);
    for (size_t i = 0; i < owners.size(); ++i) {
      const SlotRange& range = written.ranges[i];
      std::vector<int32_t>& mine = rows_[owners[i]];
      for (int32_t r = 0; r < range.count; ++r) {
        mine.push_back(before + range.begin + r);
      }
    }
  }

  // Moves each window's rows together where they are not, so that one range names them.
  void gather() {
    std::vector<int32_t> order;
    bool in_order = true;
    for (std::vector<int32_t>& mine : rows_) {
      for (int32_t& row : mine) {
        in_order = in_order && row == static_cast<int32_t>(order.size());
        order.push_back(row);
        row = static_cast<int32_t>(order.size()) - 1;
      }
    }
    if (in_order) {
      return;
    }
    const Tensor index = model::make_ints(g_.ctx, order, {static_cast<int64_t>(order.size())});
    for (size_t layer = 0; layer < kv_.k.size(); ++layer) {
      kv_.k[layer] = autograd::gather_rows(g_, kv_.k[layer], index);
      kv_.v[layer] = autograd::gather_rows(g_, kv_.v[layer], index);
    }
  }

  // After gather().
  SlotRange range(size_t window) const {
    const std::vector<int32_t>& mine = rows_[window];
    return {mine.empty() ? 0 : mine.front(), static_cast<int32_t>(mine.size())};
  }
  const model::LayerKv& kv() const { return kv_; }

 private:
  const Graph& g_;
  model::LayerKv kv_;
  std::vector<std::vector<int32_t>> rows_;
};

}  // namespace

WindowMemories write_windows(const Graph& g, const model::Llama& writer,
                             const BeaconWeights& weights, std::span<const BeaconWindow> windows,
                             const WriteOptions& options) {
  std::vector<std::vector<BeaconSegment>> segments;
  size_t turns = 1;
  for (const BeaconWindow& window : windows) {
    segments.push_back(segments_of(window));
    turns = std::max(turns, window.is_behind_prior ? segments.back().size() : 1);
  }
  Memories memories(g, windows.size());
  for (size_t turn = 0; turn < turns; ++turn) {
    memories.gather();
    std::vector<BeaconSegment> pass;
    std::vector<size_t> owners;
    for (size_t w = 0; w < windows.size(); ++w) {
      for (size_t i = 0; i < segments[w].size(); ++i) {
        if (turn != (windows[w].is_behind_prior ? i : 0)) {
          continue;
        }
        pass.push_back(segments[w][i]);
        if (turn > 0) {
          pass.back().prior = memories.range(w);
        }
        owners.push_back(w);
      }
    }
    WriteOptions mine = options;
    const model::LayerKv prior = memories.kv();
    mine.prior = turn > 0 ? &prior : nullptr;
    memories.append(write_slots(g, writer, weights, pass, mine), owners);
  }
  memories.gather();
  WindowMemories out{.kv = memories.kv()};
  for (size_t w = 0; w < windows.size(); ++w) {
    out.ranges.push_back(memories.range(w));
  }
  return out;
}

}  // namespace offbook::compress
