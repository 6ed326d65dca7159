#include "src/model/llama.h"

#include <algorithm>

#include "src/model/neighbours.h"
#include "src/ops/packed_linear/packed_linear.h"
#include "src/ops/registry.h"

namespace offbook::model {
namespace {

// What adapters of a batch change in matrices that read x: in outs[i] by the factors for
// targets[i].
void add_several(const Graph& g, const Tensor& x, int layer, std::span<const LoraTarget> targets,
                 const Adapters& adapters, std::span<const Tensor> outs) {
  constexpr size_t kMost = 64;
  const size_t count = adapters.several.size();
  OB_REQUIRE(count <= kMost, InvalidArgument, "at most {} adapters in one batch, not {}", kMost,
             count);
  std::array<std::vector<ops::LoraFactors>, ops::kMostLoraParts> factors;
  std::array<ops::LoraPart, ops::kMostLoraParts> parts;
  int64_t ranks = 0;
  for (size_t t = 0; t < targets.size(); ++t) {
    int64_t rank = 0;
    factors[t].resize(count);
    for (size_t i = 0; i < count; ++i) {
      if (adapters.several[i] != nullptr) {
        const LoraPair& pair = adapters.several[i]->pair(layer, targets[t]);
        factors[t][i] = {.a = pair.a, .b = pair.b, .scale = adapters.several[i]->scale()};
        rank = std::max(rank, pair.a.defined() ? pair.a.dim(0) : 0);
      }
    }
    parts[t] = {.adapters = factors[t], .out = outs[t]};
    ranks += rank;
  }
  if (ranks == 0) {
    return;
  }
  ops::lora(g.ctx, {.x = x,
                    .parts = std::span(parts.data(), targets.size()),
                    .adapter_of_row = adapters.adapter_of_row,
                    .scratch = g.ctx.make(Dtype::f32, {x.dim(0), ranks})});
}

// Adds what the adapters make of x for one matrix.
void adapt(const Graph& g, const Tensor& x, int layer, LoraTarget target, const Adapters& adapters,
           const Tensor& y) {
  if (adapters.one != nullptr) {
    const LoraPair& pair = adapters.one->pair(layer, target);
    if (pair.a.defined()) {
      autograd::linear_into(g, autograd::linear(g, x, pair.a, Tensor()), pair.b,
                            adapters.one->scale(), y);
    }
  } else if (!adapters.several.empty()) {
    add_several(g, x, layer, std::span(&target, 1), adapters, std::span(&y, 1));
  }
}

Tensor project(const Graph& g, const Tensor& x, const Tensor& weight, const Tensor& bias, int layer,
               LoraTarget target, const Adapters& adapters) {
  const Tensor y = autograd::linear(g, x, weight, bias);
  adapt(g, x, layer, target, adapters, y);
  return y;
}

// The factors of an adapter that read the input of `targets`, as one matrix; undefined where one is
// missing or they do not lie together.
Tensor joint_readers(const LoraAdapter& adapter, int layer, std::span<const LoraTarget> targets) {
  std::vector<const Tensor*> readers;
  int64_t rows = 0;
  for (const LoraTarget target : targets) {
    const Tensor& a = adapter.pair(layer, target).a;
    if (!a.defined()) {
      return {};
    }
    readers.push_back(&a);
    rows += a.dim(0);
  }
  return lie_together(readers) ? spanning(*readers.front(), {rows, readers.front()->dim(1)})
                               : Tensor();
}

// Adds what adapters make of x to neighbouring columns of y, those of one target behind those of
// another: where the factors that read lie together too, x is read once for all.
void adapt_together(const Graph& g, const Tensor& x, int layer, std::span<const LoraTarget> targets,
                    const ModelConfig& config, const Adapters& adapters, const Tensor& y) {
  std::vector<Tensor> parts;
  int64_t column = 0;
  for (const LoraTarget target : targets) {
    const int64_t width = target_shape(config, target)[0];
    parts.push_back(y.slice(1, column, column + width));
    column += width;
  }
  if (adapters.one == nullptr && !adapters.several.empty()) {
    return add_several(g, x, layer, targets, adapters, parts);
  }
  const Tensor readers = adapters.one == nullptr || targets.size() == 1
                             ? Tensor()
                             : joint_readers(*adapters.one, layer, targets);
  const Tensor low = readers.defined() ? autograd::linear(g, x, readers, Tensor()) : Tensor();
  int64_t rank = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!low.defined()) {
      adapt(g, x, layer, targets[i], adapters, parts[i]);
      continue;
    }
    const LoraPair& pair = adapters.one->pair(layer, targets[i]);
    autograd::linear_into(g, low.slice(1, rank, rank + pair.a.dim(0)), pair.b,
                          adapters.one->scale(), parts[i]);
    rank += pair.a.dim(0);
  }
}

}  // namespace

Tensor Llama::embed(const Graph& g, const Tensor& ids, Dtype dtype) const {
  return autograd::embedding(g, ids, weights_.embedding, dtype);
}

std::optional<autograd::AdaptedMatrix> Llama::with_adapters(const Graph& g, int index, int64_t rows,
                                                            const Tensor& matrix,
                                                            std::span<const LoraTarget> targets,
                                                            const PassOptions& options) const {
  // Setting the columns up moves the matrix once a pass, and backward keeps it: nothing for a small
  // model; for a large one, whose products are not bound by their outputs, more than it saves.
  constexpr int64_t kMostElements = int64_t{8} << 20;
  const LoraAdapter* const adapter = options.adapters.one;
  if (g.tape == nullptr || joined_.empty() || adapter == nullptr || rows < matrix.dim(1) ||
      matrix.numel() > kMostElements ||
      (matrix.dtype() != Dtype::f32 && matrix.dtype() != Dtype::bf16)) {
    return std::nullopt;
  }
  autograd::AdaptedMatrix out{.weight = matrix,
                              .readers = joint_readers(*adapter, index, targets),
                              .scale = adapter->scale()};
  if (!out.readers.defined()) {
    return std::nullopt;
  }
  for (const LoraTarget target : targets) {
    out.writers.push_back(adapter->pair(index, target).b);
  }
  return out;
}

bool Llama::is_frozen(const Graph& g, int index, const Neighbours& maps,
                      const PassOptions& options) const {
  const LoraAdapter* const adapter = options.adapters.one;
  return g.tape != nullptr && !g.needs_grad(maps.matrix) && !g.needs_grad(maps.norm) &&
         std::none_of(maps.targets.begin(), maps.targets.end(), [&](LoraTarget target) {
           return adapter != nullptr && adapter->pair(index, target).a.defined();
         });
}

Tensor Llama::through(const Graph& g, int index, const Tensor& x, const Neighbours& maps,
                      const PassOptions& options) const {
  if (auto m = with_adapters(g, index, x.dim(0), maps.matrix, maps.targets, options)) {
    m->bias = maps.bias;
    const Tensor wide = g.make(x.dtype(), {x.dim(0), x.dim(1) + autograd::columns_beside(*m)});
    autograd::rms_norm_into(g, x, maps.norm, config_.rms_eps, wide.slice(1, 0, x.dim(1)));
    return autograd::adapted_linear(g, wide, *m);
  }
  if (is_frozen(g, index, maps, options)) {
    return autograd::normed_linear(g, x, maps.norm, config_.rms_eps, maps.matrix, maps.bias);
  }
  const Tensor normed = autograd::rms_norm(g, x, maps.norm, config_.rms_eps);
  const Tensor out = autograd::linear(g, normed, maps.matrix, maps.bias);
  adapt_together(g, normed, index, maps.targets, config_, options.adapters, out);
  return out;
}

std::array<Tensor, 2> Llama::gate_and_up(const Graph& g, int index, const Tensor& x,
                                         const PassOptions& options) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  if (!joined_.empty() && joined_[static_cast<size_t>(index)].gate_up.defined()) {
    constexpr LoraTarget kTargets[] = {LoraTarget::gate, LoraTarget::up};
    const Tensor& matrix = joined_[static_cast<size_t>(index)].gate_up;
    const Tensor both = through(g, index, x, {w.ffn_norm, matrix, Tensor(), kTargets}, options);
    return {both.slice(1, 0, config_.ffn), both.slice(1, config_.ffn, both.dim(1))};
  }
  const Tensor ready = autograd::rms_norm(g, x, w.ffn_norm, config_.rms_eps);
  return {project(g, ready, w.gate, Tensor(), index, LoraTarget::gate, options.adapters),
          project(g, ready, w.up, Tensor(), index, LoraTarget::up, options.adapters)};
}

Tensor Llama::add_to(const Graph& g, int index, const Tensor& stream, const Tensor& in,
                     LoraTarget target, const PassOptions& options, Residual residual) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  const bool is_o = target == LoraTarget::o;
  const Tensor& weight = is_o ? w.o : w.down;
  const Tensor bias = is_o ? w.o_bias : Tensor();
  if (residual == Residual::in_place) {
    ops::linear(
        g.ctx,
        {.x = in, .weight = weight, .bias = bias, .write = ops::Write::accumulate, .out = stream});
    adapt(g, in, index, target, options.adapters, stream);
    return stream;
  }
  if (joined_.empty()) {
    return autograd::add(g, stream, project(g, in, weight, bias, index, target, options.adapters));
  }
  const Tensor out = autograd::linear_onto(g, in, weight, bias, stream);
  adapt(g, in, index, target, options.adapters, out);
  return out;
}

Tensor Llama::fed_forward(const Graph& g, int index, const Tensor& x, const PassOptions& options,
                          Residual residual) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  if (is_small_step(g, x, options)) {
    return add_to(g, index, x, gated_step(g, x, w), LoraTarget::down, options, residual);
  }
  const auto [gate, up] = gate_and_up(g, index, x, options);
  constexpr LoraTarget kDown[] = {LoraTarget::down};
  if (auto m = with_adapters(g, index, x.dim(0), w.down, kDown, options)) {
    m->residual = x;
    const Tensor wide = g.make(x.dtype(), {x.dim(0), config_.ffn + autograd::columns_beside(*m)});
    autograd::swiglu_into(g, gate, up, wide.slice(1, 0, config_.ffn));
    return autograd::adapted_linear(g, wide, *m);
  }
  const bool adapts_down = options.adapters.one != nullptr &&
                           options.adapters.one->pair(index, LoraTarget::down).a.defined();
  if (g.tape != nullptr && !joined_.empty() &&
      joined_[static_cast<size_t>(index)].gate_up.defined() && !adapts_down) {
    return autograd::gated_onto(
        g, gate, up, w.down, x,
        options.is_replay ? autograd::Value::unused : autograd::Value::made);
  }
  return add_to(g, index, x, autograd::swiglu(g, gate, up), LoraTarget::down, options, residual);
}

std::array<Tensor, 3> Llama::projected(const Graph& g, int index, const Tensor& x,
                                       const PassOptions& options) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  const auto map = [&](const Tensor& in, const Tensor& weight, const Tensor& bias,
                       LoraTarget target) {
    return project(g, in, weight, bias, index, target, options.adapters);
  };
  const Joined* const joined = joined_.empty() ? nullptr : &joined_[static_cast<size_t>(index)];
  const bool is_fused = is_small_step(g, x, options);
  Tensor q;
  Tensor k;
  Tensor v;
  if (joined != nullptr && joined->qkv.defined()) {
    const int64_t after_q = config_.q_width();
    const int64_t after_k = after_q + config_.kv_width();
    Tensor all;
    if (is_fused) {
      all = g.make(x.dtype(), {x.dim(0), joined->qkv.dim(0)});
      ops::norm_linear(g.ctx, {.rows = {x, w.attn_norm, config_.rms_eps},
                               .weights = {joined->qkv},
                               .biases = {joined->qkv_bias},
                               .outs = {all}});
    } else {
      constexpr LoraTarget kTargets[] = {LoraTarget::q, LoraTarget::k, LoraTarget::v};
      all = through(g, index, x, {w.attn_norm, joined->qkv, joined->qkv_bias, kTargets}, options);
    }
    q = all.slice(1, 0, after_q);
    k = all.slice(1, after_q, after_k);
    v = all.slice(1, after_k, all.dim(1));
  } else {
    const Tensor normed = autograd::rms_norm(g, x, w.attn_norm, config_.rms_eps);
    q = map(normed, w.q, w.q_bias, LoraTarget::q);
    k = map(normed, w.k, w.k_bias, LoraTarget::k);
    v = map(normed, w.v, w.v_bias, LoraTarget::v);
  }
  q = q.split_axis(1, config_.head_dim);
  k = k.split_axis(1, config_.head_dim);
  v = v.split_axis(1, config_.head_dim);
  if (config_.has_qk_norm) {
    q = autograd::rms_norm(g, q, w.q_norm, config_.rms_eps);
    k = autograd::rms_norm(g, k, w.k_norm, config_.rms_eps);
  }
  return {q, k, v};
}

Llama::LayerResult Llama::kept_of(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                                  const PassOptions& options) const {
  const auto [q, k, v] = projected(g, index, x, options);
  path.keep_only(g, index, k, v);
  const LayerKv& kept = *path.kept();
  return {.kept_k = kept.k[static_cast<size_t>(index)],
          .kept_v = kept.v[static_cast<size_t>(index)]};
}

Tensor Llama::attended_onto(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                            const PassOptions& options, Residual residual) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  const auto [q, k, v] = projected(g, index, x, options);
  constexpr LoraTarget kO[] = {LoraTarget::o};
  auto m = with_adapters(g, index, x.dim(0), w.o, kO, options);
  // Attention wants its rows on 16 bytes.
  if (m && dtype_bytes(x.dtype(), autograd::columns_beside(*m)) % 16 == 0) {
    m->bias = w.o_bias;
    m->residual = x;
    const int64_t in = config_.q_width();
    const Tensor wide = g.make(x.dtype(), {x.dim(0), in + autograd::columns_beside(*m)});
    path.attend_into(g, index, q, k, v, wide.slice(1, 0, in).split_axis(1, config_.head_dim));
    return autograd::adapted_linear(g, wide, *m);
  }
  return add_to(g, index, x, path.attend(g, index, q, k, v).merge_last(), LoraTarget::o, options,
                residual);
}

Llama::LayerResult Llama::layer(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                                const PassOptions& options, Residual residual) const {
  const Tensor middle = attended_onto(g, index, x, path, options, residual);
  LayerResult out{.x = fed_forward(g, index, middle, options, residual)};
  if (LayerKv* kept = path.kept()) {
    out.kept_k = kept->k[static_cast<size_t>(index)];
    out.kept_v = kept->v[static_cast<size_t>(index)];
  }
  return out;
}

namespace {

void keep(AttentionPath& path, int layer, const Tensor& k, const Tensor& v) {
  path.kept()->k[static_cast<size_t>(layer)] = k;
  path.kept()->v[static_cast<size_t>(layer)] = v;
}

}  // namespace

Tensor Llama::run_checkpointed(const Graph& g, Tensor x, AttentionPath& path,
                               const PassOptions& options) const {
  std::vector<autograd::TensorSpec> specs{{x.dtype(), x.shape()}};
  if (path.kept() != nullptr) {
    specs.resize(3, {x.dtype(), {path.kept_rows(), config_.kv_heads, config_.head_dim}});
  }
  int64_t checkpointed = config_.layers - std::min(options.kept_layers, config_.layers);
  checkpointed -= checkpointed > 0 && stops_at_keys(checkpointed - 1, options) ? 1 : 0;
  for (int i = 0; i < checkpointed; ++i) {
    // By value: backward runs after this frame is gone. The path and the adapters outlive backward.
    const auto out =
        autograd::checkpoint(g, specs, [this, i, x, &path, options](const Graph& inner) {
          PassOptions mine = options;
          mine.is_replay = inner.tape != nullptr;
          const LayerResult r = layer(inner, i, x, path, mine);
          return path.kept() == nullptr ? std::vector<Tensor>{r.x}
                                        : std::vector<Tensor>{r.x, r.kept_k, r.kept_v};
        });
    if (path.kept() != nullptr) {
      keep(path, i, out[1], out[2]);
    }
    x = out.front();
  }
  for (auto i = static_cast<int>(checkpointed); i < config_.layers; ++i) {
    x = stops_at_keys(i, options) ? kept_of(g, i, x, path, options).x
                                  : layer(g, i, x, path, options).x;
  }
  return x;
}

Tensor Llama::run_forward(const Graph& g, Tensor x, AttentionPath& path,
                          const PassOptions& options) const {
  const Tensor results[2] = {g.make(x.dtype(), x.shape()), g.make(x.dtype(), x.shape())};
  // On a GPU products add to the residual stream themselves: that saves two passes over it a layer.
  const Residual residual = g.ctx.device() == Device::cuda ? Residual::in_place : Residual::fresh;
  if (residual == Residual::in_place) {
    ops::copy(g.ctx, {.x = x, .out = results[0]});  // the caller's stays as it is
    x = results[0];
    if (run_at_once(g, x, path, options)) {
      return x;
    }
  }
  const Shape kv{path.kept_rows(), config_.kv_heads, config_.head_dim};
  for (int i = 0; i < config_.layers; ++i) {
    Tensor k;
    Tensor v;
    if (path.kept() != nullptr) {
      k = g.make(x.dtype(), kv);
      v = g.make(x.dtype(), kv);
    }
    backend::ArenaScope scope(*g.ctx.arena);
    const bool is_end = stops_at_keys(i, options);
    const LayerResult out =
        is_end ? kept_of(g, i, x, path, options) : layer(g, i, x, path, options, residual);
    if (residual == Residual::fresh && !is_end) {
      x = results[i % 2];
      ops::copy(g.ctx, {.x = out.x, .out = x});
    }
    if (path.kept() != nullptr) {
      ops::copy(g.ctx, {.x = out.kept_k, .out = k});
      ops::copy(g.ctx, {.x = out.kept_v, .out = v});
      keep(path, i, k, v);
    }
  }
  return x;
}

namespace {

// The packed layer joins gate, up and SwiGLU: there is no place between for an adapter.
bool adapts_gate_or_up(const Adapters& adapters) {
  const auto adapts = [](const LoraAdapter* a) {
    return a != nullptr && std::any_of(a->layers.begin(), a->layers.end(), [](const auto& pairs) {
             return pairs[static_cast<size_t>(LoraTarget::gate)].a.defined() ||
                    pairs[static_cast<size_t>(LoraTarget::up)].a.defined();
           });
  };
  return std::any_of(adapters.several.begin(), adapters.several.end(), adapts);
}

}  // namespace

bool Llama::is_packed_pass(const Graph& g, const Tensor& x, const PassOptions& options) const {
  return packed_ != nullptr && g.tape == nullptr && g.ctx.device() == Device::cpu &&
         g.ctx.compute == backend::Compute::bf16 && g.ctx.backend != backend::Backend::reference &&
         x.dtype() == Dtype::f32 && (packed_->is_for_many_rows || x.dim(0) <= ops::kFewRows) &&
         options.adapters.one == nullptr && !adapts_gate_or_up(options.adapters);
}

// Adds the layer's results to x in place.
void Llama::packed_layer(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                         const PassOptions& options) const {
  const LlamaLayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  const PackedLayer& packed = packed_->layers[static_cast<size_t>(index)];
  const int64_t n = x.dim(0);
  const bool is_adapted = !options.adapters.several.empty();
  // Adapters read the normalised input, so then it must be made; else the product makes it as it
  // goes.
  const Tensor in = is_adapted ? autograd::rms_norm(g, x, w.attn_norm, config_.rms_eps) : x;
  const Tensor qkv = g.make(Dtype::f32, {n, config_.q_width() + 2 * config_.kv_width()});
  ops::packed_linear(g.ctx, {.x = in,
                             .norm = is_adapted ? Tensor() : w.attn_norm,
                             .eps = config_.rms_eps,
                             .matrix = &packed.qkv,
                             .bias = packed.qkv_bias,
                             .out = qkv});
  const auto columns = [&](int64_t begin, int64_t width, LoraTarget target) {
    const Tensor part = qkv.slice(1, begin, begin + width);
    adapt(g, in, index, target, options.adapters, part);
    return part.split_axis(1, config_.head_dim);
  };
  Tensor q = columns(0, config_.q_width(), LoraTarget::q);
  Tensor k = columns(config_.q_width(), config_.kv_width(), LoraTarget::k);
  const Tensor v =
      columns(config_.q_width() + config_.kv_width(), config_.kv_width(), LoraTarget::v);
  if (config_.has_qk_norm) {
    q = autograd::rms_norm(g, q, w.q_norm, config_.rms_eps);
    k = autograd::rms_norm(g, k, w.k_norm, config_.rms_eps);
  }
  if (stops_at_keys(index, options)) {
    path.keep_only(g, index, k, v);
    return;
  }
  const Tensor attended = path.attend(g, index, q, k, v).merge_last();
  ops::packed_linear(g.ctx, {.x = attended,
                             .matrix = &packed.o,
                             .bias = w.o_bias,
                             .write = ops::Write::accumulate,
                             .out = x});
  adapt(g, attended, index, LoraTarget::o, options.adapters, x);
  const Tensor inner = g.make(Dtype::f32, {n, config_.ffn});
  ops::packed_linear(g.ctx, {.x = x,
                             .norm = w.ffn_norm,
                             .eps = config_.rms_eps,
                             .matrix = &packed.gate_up,
                             .end = ops::PackedEnd::swiglu,
                             .out = inner});
  ops::packed_linear(
      g.ctx, {.x = inner, .matrix = &packed.down, .write = ops::Write::accumulate, .out = x});
  adapt(g, inner, index, LoraTarget::down, options.adapters, x);
}

Tensor Llama::run_packed(const Graph& g, const Tensor& input, AttentionPath& path,
                         const PassOptions& options) const {
  const Tensor x = g.make(Dtype::f32, input.shape());
  ops::copy(g.ctx, {.x = input, .out = x});
  const Shape kv{path.kept_rows(), config_.kv_heads, config_.head_dim};
  for (int i = 0; i < config_.layers; ++i) {
    Tensor k;
    Tensor v;
    if (path.kept() != nullptr) {
      k = g.make(x.dtype(), kv);
      v = g.make(x.dtype(), kv);
    }
    backend::ArenaScope scope(*g.ctx.arena);
    packed_layer(g, i, x, path, options);
    if (path.kept() != nullptr) {
      ops::copy(g.ctx, {.x = path.kept()->k[static_cast<size_t>(i)], .out = k});
      ops::copy(g.ctx, {.x = path.kept()->v[static_cast<size_t>(i)], .out = v});
      keep(path, i, k, v);
    }
  }
  return x;
}

Tensor Llama::run(const Graph& g, const Tensor& input, AttentionPath& path,
                  const PassOptions& options) const {
  OB_REQUIRE(options.wants_hidden || path.kept() != nullptr, InvalidArgument,
             "a pass without hidden states keeps keys and values");
  OB_REQUIRE(input.rank() == 2 && input.dim(1) == config_.hidden, InvalidArgument,
             "input embeddings are [n, {}], not {}", config_.hidden, to_string(input));
  Tensor x = input;
  if (is_packed_pass(g, x, options)) {
    x = run_packed(g, x, path, options);
  } else if (g.tape == nullptr) {
    x = run_forward(g, x, path, options);
  } else if (options.checkpointing == Checkpointing::per_layer) {
    x = run_checkpointed(g, x, path, options);
  } else {
    for (int i = 0; i < config_.layers; ++i) {
      x = stops_at_keys(i, options) ? kept_of(g, i, x, path, options).x
                                    : layer(g, i, x, path, options).x;
    }
  }
  return options.wants_hidden ? autograd::rms_norm(g, x, weights_.final_norm, config_.rms_eps)
                              : Tensor();
}

Tensor Llama::logits(const backend::ExecutionContext& ctx, const Tensor& hidden) const {
  const Tensor out = ctx.make(Dtype::f32, {hidden.dim(0), config_.vocab_size});
  if (is_packed_pass({ctx}, hidden, {})) {
    ops::packed_linear(ctx, {.x = hidden, .matrix = &packed_->head, .out = out});
    return out;
  }
  ops::linear(ctx, {.x = hidden, .weight = weights_.lm_head, .out = out});
  return out;
}

int64_t Llama::kept_bytes_per_row(const LoraAdapter& adapter, Dtype activations) const {
  const ModelConfig& c = config_;
  // The residual stream twice; q, k, v and the attended; gate and up.
  int64_t elements = 2 * c.hidden + 2 * (c.q_width() + c.kv_width()) + 2 * c.ffn;
  const auto is_adapted = [&](LoraTarget target) {
    return !adapter.layers.empty() && adapter.pair(0, target).a.defined();
  };
  if (joined_.empty()) {  // both normed inputs, what is added to the stream, the gated
    elements += 4 * c.hidden + c.ffn;
  } else {
    elements += is_adapted(LoraTarget::q) ? c.hidden : 0;
    elements += is_adapted(LoraTarget::gate) ? c.hidden : 0;
    elements += is_adapted(LoraTarget::down) ? c.ffn : 0;
  }
  return dtype_bytes(activations, elements);
}

}  // namespace offbook::model
