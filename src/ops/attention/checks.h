// What attention and paged_attention check alike.
#pragma once
#include "src/ops/attention/attention.h"
#include "src/ops/dispatch.h"

namespace offbook::ops {

// q [n, heads, dim] against keys [s, kv_heads, dim] and values of the same shape.
void check_attention_heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v);

// f32 or bf16 in the shape of `like`, elements of a head side by side.
void check_like(const char* op, const char* name, const Tensor& t, const Tensor& like);

// Begin and length of consecutive sequences: in order, disjoint, within `rows`.
class QueryRanges {
 public:
  QueryRanges(const char* op, int64_t rows, int64_t max_length)
      : op_(op), rows_(rows), max_length_(max_length) {}
  void add(int64_t sequence, int64_t begin, int64_t length);

 private:
  const char* op_;
  int64_t rows_;
  int64_t max_length_;
  int64_t end_ = 0;
};

// Sets to 0 the gradients that a pass overwrites, for implementations that only add.
void clear_overwritten(const ExecutionContext& ctx, const AttentionBackwardArgs& args);

}  // namespace offbook::ops
