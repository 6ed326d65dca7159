#include "src/model/attention_path.h"

#include <algorithm>
#include <cmath>

#include "src/backend/transfer.h"
#include "src/model/neighbours.h"
#include "src/ops/registry.h"

namespace offbook::model {

void AttentionPath::attend_into(const Graph&, int /*layer*/, const Tensor& /*q*/,
                                const Tensor& /*k*/, const Tensor& /*v*/, const Tensor& /*out*/) {
  OB_THROW(Unsupported, "this path of attention records no pass");
}

Tensor make_ints(const backend::ExecutionContext& ctx, std::span<const int32_t> values,
                 const Shape& shape) {
  const Tensor out = ctx.make(Dtype::i32, shape);
  OB_CHECK(out.numel() == static_cast<int64_t>(values.size()));
  backend::upload(ctx, std::as_bytes(values), out);
  return out;
}

Tensor make_rope_table(const backend::ExecutionContext& ctx, std::span<const int32_t> positions,
                       const Tensor& inv_freq, float scale) {
  const auto n = static_cast<int64_t>(positions.size());
  const Tensor table = ctx.make(Dtype::f32, {n, 2 * inv_freq.dim(0)});
  ops::rope_table(ctx, {.positions = make_ints(ctx, positions, {n}),
                        .inv_freq = inv_freq,
                        .scale = scale,
                        .out = table});
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
  int32_t rows = 0;
  for (const PackedSequence& s : options.sequences) {
    OB_REQUIRE(
        s.prefix_begin >= 0 && s.prefix_len >= 0 && s.prefix_begin + s.prefix_len <= prefix_rows,
        InvalidArgument, "prefix rows {}…{} of {}", s.prefix_begin, s.prefix_begin + s.prefix_len,
        prefix_rows);
    OB_REQUIRE(s.before >= 0 && (s.before == 0 || s.before < s.length), InvalidArgument,
               "{} of {} rows before a prefix", s.before, s.length);
    rows += s.length;
  }
  OB_REQUIRE(rows == static_cast<int32_t>(options.positions.size()), InvalidArgument,
             "sequences of {} rows in a pass of {}", rows, options.positions.size());
  std::vector<int32_t> table;
  const bool is_plain = std::all_of(options.sequences.begin(), options.sequences.end(),
                                    [](const PackedSequence& s) { return s.before == 0; });
  if (is_plain) {
    read_in_place(options.sequences, table);
  } else {
    const std::vector<int32_t> order = read_in_order(options.sequences, table);
    key_order_ = make_ints(ctx, order, {static_cast<int64_t>(order.size())});
  }
  constexpr int32_t kFields = ops::kAttentionSequenceFields;
  for (size_t i = 0; i < table.size(); i += kFields) {
    max_length_ = std::max(max_length_, table[i + 1]);
    max_prefix_ = std::max(max_prefix_, table[i + 4]);
  }
  sequences_ = make_ints(ctx, table, {static_cast<int64_t>(table.size()) / kFields, kFields});
  if (!options.capture.empty()) {
    capture_ = make_ints(ctx, options.capture, {static_cast<int64_t>(options.capture.size())});
    captured_.k.resize(static_cast<size_t>(config.layers));
    captured_.v.resize(static_cast<size_t>(config.layers));
  }
}

// Keys are the prefix rows and behind them the pass's own.
void PackedAttention::read_in_place(std::span<const PackedSequence> sequences,
                                    std::vector<int32_t>& table) {
  const auto prefix_rows = static_cast<int32_t>(prefix_.tokens());
  int32_t at = 0;
  for (const PackedSequence& s : sequences) {
    table.insert(table.end(), {at, s.length, prefix_rows + at, s.prefix_begin, s.prefix_len});
    at += s.length;
  }
}

// Keys are gathered so that each sequence's stand as it reads them: rows before the prefix, the
// prefix, the other rows. The rows behind read what is before and the prefix as one prefix.
std::vector<int32_t> PackedAttention::read_in_order(std::span<const PackedSequence> sequences,
                                                    std::vector<int32_t>& table) {
  const auto prefix_rows = static_cast<int32_t>(prefix_.tokens());
  std::vector<int32_t> order;
  const auto take = [&](int32_t begin, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
      order.push_back(begin + i);
    }
  };
  int32_t at = 0;
  for (const PackedSequence& s : sequences) {
    const auto base = static_cast<int32_t>(order.size());
    take(prefix_rows + at, s.before);
    take(s.prefix_begin, s.prefix_len);
    take(prefix_rows + at + s.before, s.length - s.before);
    const int32_t read = s.before + s.prefix_len;
    if (s.before > 0) {
      table.insert(table.end(), {at, s.before, base, base, 0});
    }
    table.insert(table.end(), {at + s.before, s.length - s.before, base + read, base, read});
    at += s.length;
  }
  return order;
}

void PackedAttention::keep_only(const Graph& g, int layer, const Tensor& k, const Tensor& v) {
  if (capture_.defined()) {
    constexpr auto kDistinct = autograd::Places::distinct;
    captured_.k[static_cast<size_t>(layer)] = autograd::gather_rows(g, k, capture_, kDistinct);
    captured_.v[static_cast<size_t>(layer)] = autograd::gather_rows(g, v, capture_, kDistinct);
  }
}

Tensor PackedAttention::attend(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                               const Tensor& v) {
  const Tensor out = g.make(q.dtype(), q.shape());
  attend_into(g, layer, q, k, v, out);
  return out;
}

void PackedAttention::attend_into(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                                  const Tensor& v, const Tensor& out) {
  const auto l = static_cast<size_t>(layer);
  keep_only(g, layer, k, v);
  // In a recorded pass they turn where they stand: keys before RoPE were gathered above, and nobody
  // else asks for them.
  Tensor keys = k;
  Tensor queries = q;
  if (g.tape != nullptr) {
    const Tensor both = heads_together(q, k);
    for (const Tensor& heads : both.defined() ? std::vector{both} : std::vector{k, q}) {
      autograd::rope_in_place(g, heads, rows_table_);
    }
  } else {
    keys = autograd::rope(g, k, rows_table_);
    queries = autograd::rope(g, q, rows_table_);
  }
  Tensor values = v;
  if (prefix_table_.defined()) {
    keys = autograd::concat_rows(g, autograd::rope(g, prefix_.k[l], prefix_table_), keys);
    values = autograd::concat_rows(g, prefix_.v[l], v);
  }
  if (key_order_.defined()) {
    keys = autograd::gather_rows(g, keys, key_order_);
    values = autograd::gather_rows(g, values, key_order_);
  }
  autograd::attention_into(g, {.q = queries,
                               .k = keys,
                               .v = values,
                               .sequences = sequences_,
                               .max_length = max_length_,
                               .max_prefix = max_prefix_,
                               .window = static_cast<int32_t>(config_.window(layer)),
                               .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                               .out = out});
}

}  // namespace offbook::model
