// All layers of a decoder for one token: what a step of decoding does between the embedding and the
// final norm. For small models on a GPU, whose operations take less time than their starts.
#pragma once
#include <span>

#include "src/ops/op.h"

namespace offbook::ops {

// Matrices are [out, in], norms f32 [hidden]; all without biases.
struct DecodeLayer {
  Tensor attn_norm;
  Tensor qkv;  // [(heads + 2 kv_heads) · dim, hidden]
  Tensor o;    // [hidden, heads · dim]
  Tensor ffn_norm;
  Tensor gate;  // [ffn, hidden]
  Tensor up;
  Tensor down;     // [hidden, ffn]
  Tensor k_pages;  // [pages, kPageTokens, kv_heads, dim]
  Tensor v_pages;
};

inline constexpr size_t kMostDecodeLayers = 64;

struct DecodeLayersArgs {
  std::span<const DecodeLayer> layers;  // 1…kMostDecodeLayers of one shape
  Tensor table;                         // f32 [1, dim] of rope_table, at the token's position
  Tensor slots;                         // i32 [1]: where its keys and values go, as KvWriteArgs
  Tensor page_list;                     // of PagedAttentionArgs, and so:
  Tensor sequences;                     // i32 [1, 4]: the token is the last of kv_length
  int32_t max_kv_length = 0;
  float scale = 0;
  float eps = 1e-5f;
  Tensor x;  // [1, hidden], f32 or bf16: the residual stream, changed in place
};
// The same as norm_linear, kv_write, paged_attention, linear, norm_swiglu and linear a layer, and
// that is what it is where there is no kernel for the shape. A fused implementation keeps the
// residual stream in f32 and rounds only what enters a product. Not differentiable.
void decode_layers(const ExecutionContext& ctx, const DecodeLayersArgs& args);

}  // namespace offbook::ops
