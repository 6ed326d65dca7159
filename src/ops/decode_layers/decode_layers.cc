#include "src/ops/decode_layers/decode_layers.h"

#include "src/ops/dequantize/decode.h"
#include "src/ops/dispatch.h"
#include "src/ops/registry.h"

namespace offbook::ops {
namespace {

constexpr const char* kName = "decode_layers";

void check_matrix(const char* name, const Tensor& t, int64_t rows, int64_t columns) {
  OB_REQUIRE(is_weight_matrix(t) && t.shape() == (Shape{rows, columns}), InvalidArgument,
             "{}: {} is a float or quantised matrix [{}, {}], not {}", kName, name, rows, columns,
             to_string(t));
}

void check_layer(const DecodeLayersArgs& a, const DecodeLayer& w, const DecodeLayer& first) {
  const int64_t hidden = a.x.dim(1);
  OB_REQUIRE(
      w.k_pages.rank() == 4 && w.k_pages.dim(1) == kPageTokens &&
          w.k_pages.shape() == first.k_pages.shape() && w.v_pages.shape() == w.k_pages.shape(),
      InvalidArgument, "{}: pages are [pages, {}, kv_heads, dim] in all layers, not {} and {}",
      kName, kPageTokens, to_string(w.k_pages), to_string(w.v_pages));
  const int64_t dim = w.k_pages.dim(3);
  const int64_t kv = w.k_pages.dim(2) * dim;
  const int64_t q = first.qkv.dim(0) - 2 * kv;
  OB_REQUIRE(q > 0 && q % kv == 0, InvalidArgument,
             "{}: qkv {} does not hold queries beside {} key heads of {}", kName,
             to_string(first.qkv), w.k_pages.dim(2), dim);
  for (const Tensor& norm : {w.attn_norm, w.ffn_norm}) {
    OB_REQUIRE(norm.defined() && norm.dtype() == Dtype::f32 && norm.is_contiguous() &&
                   norm.shape() == Shape{hidden},
               InvalidArgument, "{}: a norm is f32 [{}], not {}", kName, hidden, to_string(norm));
  }
  check_matrix("qkv", w.qkv, q + 2 * kv, hidden);
  check_matrix("o", w.o, hidden, q);
  check_matrix("gate", w.gate, first.gate.dim(0), hidden);
  check_matrix("up", w.up, first.gate.dim(0), hidden);
  check_matrix("down", w.down, hidden, first.gate.dim(0));
}

}  // namespace

void decode_layers(const ExecutionContext& ctx, const DecodeLayersArgs& a) {
  OB_REQUIRE(!a.layers.empty() && a.layers.size() <= kMostDecodeLayers, InvalidArgument,
             "{}: 1 to {} layers, not {}", kName, kMostDecodeLayers, a.layers.size());
  OB_REQUIRE(a.x.rank() == 2 && a.x.dim(0) == 1 && is_activation(a.x) && a.x.is_contiguous(),
             InvalidArgument, "{}: x is f32 or bf16 [1, hidden], not {}", kName, to_string(a.x));
  const DecodeLayer& first = a.layers.front();
  OB_REQUIRE(first.qkv.defined() && first.qkv.rank() == 2 && first.gate.defined() &&
                 first.gate.rank() == 2,
             InvalidArgument, "{}: a layer without qkv or gate", kName);
  for (const DecodeLayer& w : a.layers) {
    check_layer(a, w, first);
  }
  const int64_t dim = first.k_pages.dim(3);
  OB_REQUIRE(a.table.dtype() == Dtype::f32 && a.table.shape() == (Shape{1, dim}), InvalidArgument,
             "{}: table is f32 [1, {}], not {}", kName, dim, to_string(a.table));
  OB_REQUIRE(a.slots.dtype() == Dtype::i32 && a.slots.shape() == Shape{1} &&
                 a.sequences.dtype() == Dtype::i32 &&
                 a.sequences.shape() == (Shape{1, kPagedSequenceFields}) &&
                 a.page_list.dtype() == Dtype::i32 && a.page_list.rank() == 1,
             InvalidArgument, "{}: one slot and one sequence of four numbers, not {} and {}", kName,
             to_string(a.slots), to_string(a.sequences));
  OB_REQUIRE(a.scale > 0 && a.eps > 0 && a.max_kv_length > 0, InvalidArgument,
             "{}: scale {}, eps {} and max_kv_length {} are positive", kName, a.scale, a.eps,
             a.max_kv_length);
  pick(&OpTable::decode_layers, ctx, kName)(ctx, a);
}

}  // namespace offbook::ops
