#include "src/compress/beacon/beacon.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

// Where the rows of a writing pass come from.
struct Layout {
  std::vector<int32_t> token_ids, token_rows;  // of the sinks and the text
  std::vector<int32_t> slot_rows;
  std::vector<int32_t> mean_offsets;  // over token_ids without sinks: tokens a slot closes
  std::vector<int32_t> text_index;    // places in token_ids that are text
  std::vector<int32_t> slot_ratio;    // index of the ratio of each slot
  std::vector<int32_t> keep, positions;
  std::vector<model::PackedSequence> sequences;
  std::vector<SlotRange> ranges;
  int32_t rows = 0;

  void token(int32_t id) {
    token_ids.push_back(id);
    token_rows.push_back(rows++);
  }
  void text(int32_t id) {
    text_index.push_back(static_cast<int32_t>(token_ids.size()));
    token(id);
  }
  void finish_sequence(int32_t begin, int32_t kept_before, SlotRange prior = {}) {
    sequences.push_back(
        {.length = rows - begin, .prefix_begin = prior.begin, .prefix_len = prior.count});
    for (int32_t i = 0; i < rows - begin; ++i) {
      positions.push_back(prior.count + i);
    }
    ranges.push_back({kept_before, static_cast<int32_t>(keep.size()) - kept_before});
  }
};

void lay_out_slots(const BeaconWeights& weights, const BeaconSegment& segment, Layout& to) {
  const auto ratio = static_cast<int32_t>(nearest_ratio(weights, segment.ratio));
  const int32_t begin = to.rows;
  const auto kept_before = static_cast<int32_t>(to.keep.size());
  if (segment.keeps_sink) {
    to.keep.push_back(to.rows);
  }
  if (segment.prior.count == 0) {
    to.token(kSink);
  }
  int32_t open = 0;
  for (size_t i = 0; i < segment.tokens.size(); ++i) {
    to.text(segment.tokens[i]);
    if (++open == segment.ratio || i + 1 == segment.tokens.size()) {
      to.keep.push_back(to.rows);
      to.slot_rows.push_back(to.rows++);
      to.slot_ratio.push_back(ratio);
      to.mean_offsets.push_back(to.mean_offsets.back() + open);
      open = 0;
    }
  }
  to.finish_sequence(begin, kept_before, segment.prior);
}

void lay_out_raw(const BeaconSegment& segment, Layout& to) {
  const int32_t begin = to.rows;
  const auto kept_before = static_cast<int32_t>(to.keep.size());
  if (segment.keeps_sink) {
    to.keep.push_back(to.rows);
    to.token(kSink);
  }
  for (const int32_t id : segment.tokens) {
    to.keep.push_back(to.rows);
    to.token(id);
  }
  to.finish_sequence(begin, kept_before);
}

Tensor ints(const Graph& g, const std::vector<int32_t>& values) {
  return model::make_ints(g.ctx, values, {static_cast<int64_t>(values.size())});
}

// Slot inputs [slots, hidden]: slot vector of the ratio + pool × mean of the closed tokens. Slots
// of one ratio are made together.
void place_slots(const Graph& g, const BeaconWeights& weights, const Layout& layout,
                 const Tensor& embedded, const Tensor& x) {
  const Tensor text = autograd::gather_rows(g, embedded, ints(g, layout.text_index));
  const Tensor means = autograd::segment_mean(g, text, ints(g, layout.mean_offsets),
                                              static_cast<int64_t>(layout.slot_rows.size()));
  for (size_t r = 0; r < weights.ratios.size(); ++r) {
    std::vector<int32_t> mine;
    std::vector<int32_t> rows;
    for (size_t i = 0; i < layout.slot_rows.size(); ++i) {
      if (layout.slot_ratio[i] == static_cast<int32_t>(r)) {
        mine.push_back(static_cast<int32_t>(i));
        rows.push_back(layout.slot_rows[i]);
      }
    }
    if (mine.empty()) {
      continue;
    }
    const auto at = static_cast<int64_t>(r);
    const Tensor row = weights.slot.slice(0, at, at + 1).reshape({weights.slot.dim(1)});
    const Tensor inputs =
        autograd::affine_rows(g, autograd::gather_rows(g, means, ints(g, mine)), weights.pool, row);
    autograd::scatter_rows(g, inputs, ints(g, rows), x);
  }
}

WrittenSlots run(const Graph& g, const model::Llama& model, const Layout& layout, const Tensor& x,
                 const WriteOptions& options) {
  std::vector<int32_t> prior_positions(
      options.prior == nullptr ? 0 : static_cast<size_t>(options.prior->tokens()), 0);
  for (const model::PackedSequence& s : layout.sequences) {
    for (int32_t i = 0; i < s.prefix_len; ++i) {
      prior_positions.at(static_cast<size_t>(s.prefix_begin + i)) = i;
    }
  }
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, model.config(), model.inv_freq(),
      model::PackedAttention::Options{.sequences = layout.sequences,
                                      .prefix = options.prior,
                                      .prefix_positions = prior_positions,
                                      .positions = layout.positions,
                                      .capture = layout.keep});
  model.run(g, x, *path,
            {.adapters = {.one = options.lora},
             .checkpointing = options.checkpointing,
             .wants_hidden = false});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  return {.kv = *path->kept(), .ranges = layout.ranges};
}

void check_segments(std::span<const BeaconSegment> segments) {
  OB_REQUIRE(!segments.empty(), InvalidArgument, "no segment to compress");
  for (const BeaconSegment& s : segments) {
    OB_REQUIRE(!s.tokens.empty(), InvalidArgument, "a segment to compress has at least one token");
    OB_REQUIRE(s.ratio >= 1, InvalidArgument, "a ratio is at least 1, not {}", s.ratio);
    OB_REQUIRE(s.prior.count == 0 || !s.keeps_sink, InvalidArgument,
               "a segment behind a prior has no sink to keep");
  }
}

}  // namespace

int64_t nearest_ratio(const BeaconWeights& weights, int32_t ratio) {
  OB_REQUIRE(!weights.ratios.empty(), InvalidArgument, "a beacon without ratios");
  const auto distance = [&](int32_t trained) {
    return std::abs(std::log(static_cast<double>(trained) / ratio));
  };
  const auto at = std::min_element(weights.ratios.begin(), weights.ratios.end(),
                                   [&](int32_t a, int32_t b) { return distance(a) < distance(b); });
  return at - weights.ratios.begin();
}

WrittenSlots write_slots(const Graph& g, const model::Llama& writer, const BeaconWeights& weights,
                         std::span<const BeaconSegment> segments, const WriteOptions& options) {
  check_segments(segments);
  Layout layout;
  layout.mean_offsets.push_back(0);
  for (const BeaconSegment& s : segments) {
    lay_out_slots(weights, s, layout);
  }
  const Tensor embedded = writer.embed(g, ints(g, layout.token_ids), options.activations);
  const Tensor x = g.make(options.activations, {layout.rows, writer.config().hidden});
  autograd::scatter_rows(g, embedded, ints(g, layout.token_rows), x);
  place_slots(g, weights, layout, embedded, x);
  return run(g, writer, layout, x, options);
}

WrittenSlots write_raw(const Graph& g, const model::Llama& model,
                       std::span<const BeaconSegment> segments, const WriteOptions& options) {
  OB_REQUIRE(!segments.empty(), InvalidArgument, "no segment to read");
  Layout layout;
  for (const BeaconSegment& s : segments) {
    lay_out_raw(s, layout);
  }
  return run(g, model, layout, model.embed(g, ints(g, layout.token_ids), options.activations),
             options);
}

Tensor read_tasks(const Graph& g, const model::Llama& reader, const model::LayerKv& slots,
                  std::span<const ReadTask> tasks, const ReadOptions& options) {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> prefix_positions(static_cast<size_t>(slots.tokens()), 0);
  std::vector<model::PackedSequence> sequences;
  for (const ReadTask& task : tasks) {
    ids.insert(ids.end(), task.tokens.begin(), task.tokens.end());
    for (size_t i = 0; i < task.tokens.size(); ++i) {
      positions.push_back(task.slots.count + static_cast<int32_t>(i));
    }
    for (int32_t i = 0; i < task.slots.count; ++i) {
      prefix_positions[static_cast<size_t>(task.slots.begin + i)] = i;
    }
    sequences.push_back(
        {static_cast<int32_t>(task.tokens.size()), task.slots.begin, task.slots.count});
  }
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, reader.config(), reader.inv_freq(),
      model::PackedAttention::Options{.sequences = sequences,
                                      .prefix = &slots,
                                      .prefix_positions = prefix_positions,
                                      .positions = positions});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  return reader.run(g, reader.embed(g, ints(g, ids), options.activations), *path, options.pass);
}

}  // namespace offbook::compress
