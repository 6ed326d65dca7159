// A step of a few rows on a GPU: norms run inside the products that read them, and a token of a
// small model runs all its layers in one operation.
#include <algorithm>
#include <cmath>

#include "src/model/kv_cache.h"
#include "src/model/llama.h"
#include "src/ops/registry.h"

namespace offbook::model {

bool Llama::is_small_step(const Graph& g, const Tensor& x, const PassOptions& options) const {
  constexpr int64_t kRows = 8;  // beyond, the kernels that take the norm in have no gain
  return g.tape == nullptr && g.ctx.device() == Device::cuda && x.dim(0) <= kRows &&
         options.adapters.one == nullptr && options.adapters.several.empty();
}

Tensor Llama::gated_step(const Graph& g, const Tensor& x, const LlamaLayerWeights& w) const {
  const Tensor out = g.make(x.dtype(), {x.dim(0), config_.ffn});
  ops::norm_swiglu(
      g.ctx, {.rows = {x, w.ffn_norm, config_.rms_eps}, .gate = w.gate, .up = w.up, .out = out});
  return out;
}

bool Llama::run_at_once(const Graph& g, const Tensor& x, const AttentionPath& path,
                        const PassOptions& options) const {
  const CachedRows* const rows = path.cached();
  const auto takes = [&](int64_t i) {
    const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(i)];
    const Joined& joined = joined_[static_cast<size_t>(i)];
    return joined.qkv.defined() && !joined.qkv_bias.defined() && !w.o_bias.defined() &&
           config_.window(i) == 0;
  };
  if (rows == nullptr || x.dim(0) != 1 || !is_small_step(g, x, options) || joined_.empty() ||
      config_.has_qk_norm || config_.layers > static_cast<int64_t>(ops::kMostDecodeLayers)) {
    return false;
  }
  std::vector<ops::DecodeLayer> layers;
  for (int i = 0; i < config_.layers; ++i) {
    if (!takes(i)) {
      return false;
    }
    const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(i)];
    layers.push_back({.attn_norm = w.attn_norm,
                      .qkv = joined_[static_cast<size_t>(i)].qkv,
                      .o = w.o,
                      .ffn_norm = w.ffn_norm,
                      .gate = w.gate,
                      .up = w.up,
                      .down = w.down,
                      .k_pages = rows->cache->k(i),
                      .v_pages = rows->cache->v(i)});
  }
  ops::decode_layers(g.ctx, {.layers = layers,
                             .table = rows->table,
                             .slots = rows->slots,
                             .page_list = rows->page_list,
                             .sequences = rows->sequences,
                             .max_kv_length = rows->max_kv_length,
                             .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                             .eps = config_.rms_eps,
                             .x = x});
  return true;
}

}  // namespace offbook::model
