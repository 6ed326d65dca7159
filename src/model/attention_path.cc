#include "src/model/attention_path.h"

#include <algorithm>
#include <cmath>

#include "src/backend/transfer.h"
#include "src/ops/registry.h"

namespace offbook::model {

Tensor make_ints(const backend::ExecutionContext& ctx, std::span<const int32_t> values, const Shape& shape) {
  const Tensor out = ctx.make(Dtype::i32, shape);
  OB_CHECK(out.numel() == static_cast<int64_t>(values.size()));
  backend::upload(ctx, std::as_bytes(values), out);
  return out;
}

Tensor make_rope_table(const backend::ExecutionContext& ctx, std::span<const int32_t> positions,
                       const Tensor& inv_freq, float scale) {
  const auto n = static_cast<int64_t>(positions.size());
  const Tensor table = ctx.make(Dtype::f32, {n, 2 * inv_freq.dim(0)});
  ops::rope_table(ctx, {.positions = make_ints(ctx, positions, {n}), .inv_freq = inv_freq, .scale = scale, .out = table});
  return table;
}

PackedAttention::PackedAttention(const backend::ExecutionContext& ctx, const ModelConfig& config,
                                 const Tensor& inv_freq, const Options& options)
    : config_(config), prefix_(options.prefix == nullptr ? LayerKv{} : *options.prefix) {
  const float scale = rope_frequencies(config).scale;
  rows_table_ = make_rope_table(ctx, options.positions, inv_freq, scale);
  const int64_t prefix_rows = prefix_.tokens();
  OB_REQUIRE(static_cast<int64_t>(options.prefix_positions.size()) == prefix_rows, InvalidArgument,
             "{} prefix rows have {} positions", prefix_rows, options.prefix_positions.size());
  if (prefix_rows > 0) {
    prefix_table_ = make_rope_table(ctx, options.prefix_positions, inv_freq, scale);
  }
  std::vector<int32_t> table;
  int32_t at = 0;
  for (const PackedSequence& s : options.sequences) {
    OB_REQUIRE(s.prefix_begin >= 0 && s.prefix_len >= 0 && s.prefix_begin + s.prefix_len <= prefix_rows, InvalidArgument,
               "prefix rows {}…{} of {}", s.prefix_begin, s.prefix_begin + s.prefix_len, prefix_rows);
    table.insert(table.end(), {at, s.length, static_cast<int32_t>(prefix_rows) + at, s.prefix_begin, s.prefix_len});
    at += s.length;
    max_length_ = std::max(max_length_, s.length);
    max_prefix_ = std::max(max_prefix_, s.prefix_len);
  }
  OB_REQUIRE(at == static_cast<int32_t>(options.positions.size()), InvalidArgument,
             "sequences of {} rows in a pass of {}", at, options.positions.size());
  sequences_ = make_ints(ctx, table, {static_cast<int64_t>(options.sequences.size()), ops::kAttentionSequenceFields});
  if (!options.capture.empty()) {
    capture_ = make_ints(ctx, options.capture, {static_cast<int64_t>(options.capture.size())});
    captured_.k.resize(static_cast<size_t>(config.layers));
    captured_.v.resize(static_cast<size_t>(config.layers));
  }
}

Tensor PackedAttention::attend(const Graph& g, int layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto l = static_cast<size_t>(layer);
  if (capture_.defined()) {
    captured_.k[l] = autograd::gather_rows(g, k, capture_);
    captured_.v[l] = autograd::gather_rows(g, v, capture_);
  }
  Tensor keys = autograd::rope(g, k, rows_table_);
  Tensor values = v;
  if (prefix_table_.defined()) {
    keys = autograd::concat_rows(g, autograd::rope(g, prefix_.k[l], prefix_table_), keys);
    values = autograd::concat_rows(g, prefix_.v[l], v);
  }
  return autograd::attention(g, {.q = autograd::rope(g, q, rows_table_),
                                 .k = keys,
                                 .v = values,
                                 .sequences = sequences_,
                                 .max_length = max_length_,
                                 .max_prefix = max_prefix_,
                                 .window = static_cast<int32_t>(config_.window(layer)),
                                 .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))});
}

}  // namespace offbook::model
