// Where a decoder layer's queries find their keys and values: in the same packed pass (training,
// compression), or in a cache (inference). The layer code does not know which.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/autograd/functional.h"
#include "src/model/import/model_config.h"

namespace offbook::model {

using autograd::Graph;
class KvCache;
struct LayerKv;

// Where a pass over cached sequences finds them; as ops::KvWriteArgs and ops::PagedAttentionArgs.
struct CachedRows {
  KvCache* cache = nullptr;
  Tensor table;      // f32 [n, dim]
  Tensor slots;      // i32 [n]
  Tensor page_list;  // i32 [entries]
  Tensor sequences;  // i32 [sequences, 4]
  int32_t max_length = 0;
  int32_t max_kv_length = 0;
  int32_t first_page = -1;
};

// One pass over all layers uses one path. Not thread-safe.
class AttentionPath {
 public:
  virtual ~AttentionPath() = default;
  // q [n, heads, dim], k and v [n, kv_heads, dim], before RoPE (after qk norm) → [n, heads, dim]. A
  // path may rotate q, and in a recorded pass k, where they stand.
  virtual Tensor attend(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                        const Tensor& v) = 0;
  // The same into `out` [n, heads, dim], (part of) a tensor that was made by g.make. Of paths that
  // recorded passes take.
  virtual void attend_into(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                           const Tensor& v, const Tensor& out);
  // Keeps what attend() keeps of a layer, without attending.
  virtual void keep_only(const Graph&, int /*layer*/, const Tensor& /*k*/, const Tensor& /*v*/) {}
  // Where the path keeps keys and values of some rows for the caller; null when it keeps none.
  // After attend() of a layer the entries of that layer are set.
  virtual LayerKv* kept() { return nullptr; }
  virtual int64_t kept_rows() const { return 0; }
  // The cache behind it, for steps that run all layers at once; null where there is none.
  virtual const CachedRows* cached() const { return nullptr; }
};

// Keys (before RoPE) and values of some tokens in every layer.
struct LayerKv {
  std::vector<Tensor> k;  // [n, kv_heads, dim] a layer
  std::vector<Tensor> v;
  int64_t tokens() const { return k.empty() ? 0 : k.front().dim(0); }
};

// Sequences packed in one pass; each sees itself causally and a run of prefix rows wholly.
struct PackedSequence {
  int32_t length = 0;
  int32_t prefix_begin = 0;
  int32_t prefix_len = 0;
  // Own rows that stand before the prefix and do not see it; fewer than length.
  int32_t before = 0;
};

// i32 tensors and tables that all layers of a packed pass share. Tensors stand in ctx's arena.
class PackedAttention final : public AttentionPath {
 public:
  struct Options {
    std::span<const PackedSequence> sequences;  // their lengths add up to n
    // Rows that sequences may name as prefix; null: none. Rotated to prefix_positions:
    // 0…prefix_len-1 of the sequence that reads them, or before…before+prefix_len-1.
    const LayerKv* prefix = nullptr;
    std::span<const int32_t> prefix_positions;  // one a prefix row
    std::span<const int32_t> positions;         // one a row of the pass
    // Rows whose keys (before RoPE) and values are kept; empty: none.
    std::span<const int32_t> capture;
  };
  PackedAttention(const backend::ExecutionContext& ctx, const ModelConfig& config,
                  const Tensor& inv_freq, const Options& options);

  Tensor attend(const Graph& g, int layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;
  void attend_into(const Graph& g, int layer, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Tensor& out) override;
  void keep_only(const Graph& g, int layer, const Tensor& k, const Tensor& v) override;
  // Of the rows asked for, in their order; differentiable.
  LayerKv* kept() override { return capture_.defined() ? &captured_ : nullptr; }
  int64_t kept_rows() const override { return capture_.defined() ? capture_.dim(0) : 0; }

 private:
  void read_in_place(std::span<const PackedSequence> sequences, std::vector<int32_t>& table);
  std::vector<int32_t> read_in_order(std::span<const PackedSequence> sequences,
                                     std::vector<int32_t>& table);

  const ModelConfig& config_;
  LayerKv prefix_;       // shares the tensors: a pass may run again in backward
  Tensor rows_table_;    // f32 [n, dim]
  Tensor prefix_table_;  // f32 [prefix rows, dim]
  Tensor sequences_;     // i32 [sequences, 5]
  Tensor key_order_;     // i32: rows of prefix and pass as the sequences read them; or undefined
  Tensor capture_;       // i32 [captured]
  int32_t max_length_ = 0;
  int32_t max_prefix_ = 0;
  LayerKv captured_;
};

// Copies host numbers to a tensor on ctx's device, in its arena.
Tensor make_ints(const backend::ExecutionContext& ctx, std::span<const int32_t> values,
                 const Shape& shape);

// f32 [positions, head_dim] cosines and sines.
Tensor make_rope_table(const backend::ExecutionContext& ctx, std::span<const int32_t> positions,
                       const Tensor& inv_freq, float scale);

}  // namespace offbook::model
