// Attention over packed sequences, each of which may also read a shared prefix; differentiable.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

// One row of AttentionArgs::sequences. Query t of the sequence sees all keys of the prefix and, if
// causal, own keys 0…t, else all own keys. Positions for the sliding window: the prefix is
// 0…prefix_len-1 and own key t stands at prefix_len + t.
struct AttentionSequence {
  int32_t query_begin;
  int32_t length;  // queries, and own keys
  int32_t own_begin;
  int32_t prefix_begin;
  int32_t prefix_len;  // 0: none
};
inline constexpr int kAttentionSequenceFields = 5;

enum class Mask : uint8_t { causal, full };

struct AttentionArgs {
  Tensor q;  // [n, heads, dim], f32 or bf16, RoPE applied; rows may be strided; dim 8…256, by 8
  Tensor k;  // [s, kv_heads, dim]; heads is a multiple of kv_heads (GQA)
  Tensor v;  // [s, kv_heads, dim]
  // i32 [sequences, 5] as AttentionSequence, on the device of q; their queries do not overlap and
  // come in order, their keys may. On the CPU every range is checked: InvalidArgument names the
  // sequence.
  Tensor sequences;
  int32_t max_length = 0;  // largest length and prefix_len over the sequences (for launch sizes)
  int32_t max_prefix = 0;
  Mask mask = Mask::causal;
  int32_t window = 0;  // > 0: a query sees only keys less than this many positions back
  float scale = 0;     // of q·k, usually 1/sqrt(dim)
  Tensor out;          // [n, heads, dim]
  Tensor lse;          // f32 [n, heads]: log of the softmax denominator, for backward; or undefined
};
// softmax(scale q kᵀ + mask) v without the [n, s] matrix in memory (arXiv 2205.14135).
void attention(const ExecutionContext& ctx, const AttentionArgs& args);

struct AttentionBackwardArgs {
  AttentionArgs forward;  // with out and lse as forward left them
  Tensor d_out;           // [n, heads, dim]
  // Shapes of q, k, v. Rows that several sequences read (a shared prefix) get the sum, in a fixed
  // order; rows that none reads get 0 when overwritten.
  Tensor d_q;
  Tensor d_k;
  Tensor d_v;
  Write write_q = Write::accumulate;
  Write write_k = Write::accumulate;
  Write write_v = Write::accumulate;
};
void attention_backward(const ExecutionContext& ctx, const AttentionBackwardArgs& args);

}  // namespace offbook::ops
