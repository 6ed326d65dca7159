// The list of operations, and one table of implementations for each backend.
#pragma once
#include "src/ops/adamw/adamw.h"
#include "src/ops/argmax/argmax.h"
#include "src/ops/attention/attention.h"
#include "src/ops/cross_entropy/cross_entropy.h"
#include "src/ops/decode_layers/decode_layers.h"
#include "src/ops/dequantize/dequantize.h"
#include "src/ops/elementwise/elementwise.h"
#include "src/ops/embedding/embedding.h"
#include "src/ops/gelu/gelu.h"
#include "src/ops/layer_norm/layer_norm.h"
#include "src/ops/linear/linear.h"
#include "src/ops/lora/lora.h"
#include "src/ops/norm_linear/norm_linear.h"
#include "src/ops/paged_attention/paged_attention.h"
#include "src/ops/rms_norm/rms_norm.h"
#include "src/ops/rope/rope.h"
#include "src/ops/rows/rows.h"
#include "src/ops/swiglu/swiglu.h"

// X(name, Args) for every operation; a new one adds its line here and its folder.
#define OB_OPS(X)                                                  \
  X(adamw, AdamwArgs)                                              \
  X(add, AddArgs)                                                  \
  X(affine_rows, AffineRowsArgs)                                   \
  X(affine_rows_backward, AffineRowsBackwardArgs)                  \
  X(argmax, ArgmaxArgs)                                            \
  X(attention, AttentionArgs)                                      \
  X(attention_backward, AttentionBackwardArgs)                     \
  X(copy, CopyArgs)                                                \
  X(decode_layers, DecodeLayersArgs)                               \
  X(dequantize, DequantizeArgs)                                    \
  X(embedding, EmbeddingArgs)                                      \
  X(embedding_backward, EmbeddingBackwardArgs)                     \
  X(fill, FillArgs)                                                \
  X(gather_rows, GatherRowsArgs)                                   \
  X(gelu, GeluArgs)                                                \
  X(kv_write, KvWriteArgs)                                         \
  X(layer_norm, LayerNormArgs)                                     \
  X(linear, LinearArgs)                                            \
  X(linear_backward_input, LinearBackwardInputArgs)                \
  X(linear_backward_weight, LinearBackwardWeightArgs)              \
  X(linear_cross_entropy, LinearCrossEntropyArgs)                  \
  X(linear_cross_entropy_backward, LinearCrossEntropyBackwardArgs) \
  X(lora, LoraArgs)                                                \
  X(norm_linear, NormLinearArgs)                                   \
  X(norm_swiglu, NormSwigluArgs)                                   \
  X(paged_attention, PagedAttentionArgs)                           \
  X(rms_norm, RmsNormArgs)                                         \
  X(rms_norm_backward, RmsNormBackwardArgs)                        \
  X(rope, RopeArgs)                                                \
  X(rope_table, RopeTableArgs)                                     \
  X(scatter_rows, ScatterRowsArgs)                                 \
  X(segment_mean, SegmentMeanArgs)                                 \
  X(segment_mean_backward, SegmentMeanBackwardArgs)                \
  X(sum_squares, SumSquaresArgs)                                   \
  X(swiglu, SwigluArgs)                                            \
  X(swiglu_backward, SwigluBackwardArgs)

namespace offbook::ops {

// Implementations of one backend; an empty slot means Unsupported there.
struct OpTable {
#define OB_SLOT(name, Args) void (*name)(const ExecutionContext&, const Args&) = nullptr;
  OB_OPS(OB_SLOT)
#undef OB_SLOT
};

#define OB_DECLARE(name, Args) void name(const ExecutionContext& ctx, const Args& args);
namespace ref {
OB_OPS(OB_DECLARE)
}
namespace avx2 {
OB_OPS(OB_DECLARE)
}
namespace avx512 {
OB_OPS(OB_DECLARE)
}
namespace cuda {
OB_OPS(OB_DECLARE)
}
#undef OB_DECLARE

// The CUDA table: ops/cuda_table.cc with OB_CUDA, an empty one from ops/no_cuda_table.cc without.
const OpTable& cuda_op_table();

}  // namespace offbook::ops
