// Weights of a decoder: moved to its device, joined where they read one input, dequantised, merged
// with an adapter.
#include <algorithm>

#include "src/backend/transfer.h"
#include "src/model/llama.h"
#include "src/model/neighbours.h"
#include "src/ops/registry.h"

namespace offbook::model {
namespace {

// Calls fn(tensor&) for every tensor of a layer, defined or not.
template <typename Layer, typename Fn>
void each_tensor(Layer& w, const Fn& fn) {
  for (auto* t : {&w.attn_norm, &w.q, &w.k, &w.v, &w.o, &w.q_bias, &w.k_bias, &w.v_bias, &w.o_bias,
                  &w.q_norm, &w.k_norm, &w.ffn_norm, &w.gate, &w.up, &w.down}) {
    fn(*t);
  }
}

Tensor* matrix_of(LlamaLayerWeights& w, LoraTarget target) {
  switch (target) {
    case LoraTarget::q:
      return &w.q;
    case LoraTarget::k:
      return &w.k;
    case LoraTarget::v:
      return &w.v;
    case LoraTarget::o:
      return &w.o;
    case LoraTarget::gate:
      return &w.gate;
    case LoraTarget::up:
      return &w.up;
    case LoraTarget::down:
      return &w.down;
  }
  OB_CHECK(false);
}

// One tensor with the rows (or elements) of all parts, on ctx's device, and the parts as views of
// it; undefined, and nothing moved, where they have no common form.
Tensor join_rows(const backend::ExecutionContext& ctx, std::initializer_list<Tensor*> list) {
  const std::vector<Tensor*> parts(list);
  Shape shape = parts.front()->shape();
  size_t bytes = 0;
  shape[0] = 0;
  for (const Tensor* t : parts) {
    if (!t->defined() || t->dtype() != parts.front()->dtype() || t->rank() != shape.rank() ||
        (t->rank() == 2 && t->dim(1) != shape[1])) {
      return {};
    }
    shape[0] += t->dim(0);
    bytes += static_cast<size_t>(t->bytes());
  }
  const Dtype dtype = parts.front()->dtype();
  // Neighbours in a mapped file lie together on the host: they still have to reach the device.
  const bool is_whole = lie_together({parts.begin(), parts.end()});
  const Tensor all = is_whole ? backend::to_device(ctx, spanning(*parts.front(), shape))
                              : Tensor(ctx.arena->allocator().allocate(bytes), dtype, shape);
  int64_t row = 0;
  for (Tensor* t : parts) {
    const Tensor view = all.slice(0, row, row + t->dim(0));
    if (!is_whole && t->device() == Device::cpu) {
      backend::upload(ctx, {t->raw(), static_cast<size_t>(t->bytes())}, view);
    } else if (!is_whole) {
      ops::copy(ctx, {.x = *t, .out = view});
    }
    row += t->dim(0);
    *t = view;
  }
  return all;
}

Tensor own(const backend::ExecutionContext& ctx, Dtype dtype, const Shape& shape) {
  const auto bytes = static_cast<size_t>(dtype_bytes(dtype, shape.numel()));
  return Tensor(ctx.arena->allocator().allocate(bytes), dtype, shape);
}

Tensor plain(const backend::ExecutionContext& ctx, const Tensor& weight, Dtype dtype) {
  if (!weight.defined() || weight.rank() != 2 || weight.dtype() == dtype) {
    return weight;
  }
  const Tensor out = own(ctx, dtype, weight.shape());
  ops::dequantize(ctx, {.x = weight, .out = out});
  return out;
}

}  // namespace

void Llama::join(const backend::ExecutionContext& ctx) {
  for (LlamaLayerWeights& w : weights_.layers) {
    Joined j{.qkv = join_rows(ctx, {&w.q, &w.k, &w.v}),
             .gate_up = join_rows(ctx, {&w.gate, &w.up})};
    if (j.qkv.defined() && w.q_bias.defined()) {
      j.qkv_bias = join_rows(ctx, {&w.q_bias, &w.k_bias, &w.v_bias});
    }
    joined_.push_back(std::move(j));
  }
}

Llama::Llama(const backend::ExecutionContext& ctx, ModelConfig config, LlamaWeights weights,
             Matrices matrices, std::shared_ptr<const PackedWeights> packed)
    : config_(std::move(config)), weights_(std::move(weights)), packed_(std::move(packed)) {
  const bool tied = weights_.lm_head.raw() == weights_.embedding.raw();
  weights_.embedding = backend::to_device(ctx, weights_.embedding);
  weights_.lm_head = tied ? weights_.embedding : backend::to_device(ctx, weights_.lm_head);
  weights_.final_norm = backend::to_device(ctx, weights_.final_norm);
  if (ctx.device() == Device::cuda || matrices == Matrices::joined) {
    join(ctx);
  }
  for (LlamaLayerWeights& layer : weights_.layers) {
    each_tensor(layer, [&](Tensor& t) { t = backend::to_device(ctx, t); });
  }
  const std::vector<float> frequencies = rope_frequencies(config_).inv_freq;
  Tensor host = Tensor::empty(Dtype::f32, {static_cast<int64_t>(frequencies.size())});
  std::copy(frequencies.begin(), frequencies.end(), host.data<float>());
  inv_freq_ = backend::to_device(ctx, host);
}

LlamaWeights dequantised(const backend::ExecutionContext& ctx, const LlamaWeights& weights,
                         Dtype dtype) {
  LlamaWeights out = weights;
  out.embedding = plain(ctx, weights.embedding, dtype);
  const bool tied = weights.lm_head.raw() == weights.embedding.raw();
  out.lm_head = tied ? out.embedding : plain(ctx, weights.lm_head, dtype);
  for (LlamaLayerWeights& layer : out.layers) {
    each_tensor(layer, [&](Tensor& t) { t = plain(ctx, t, dtype); });
  }
  return out;
}

LlamaWeights merged(const backend::ExecutionContext& ctx, const LlamaWeights& weights,
                    const LoraAdapter& adapter, Dtype dtype) {
  OB_REQUIRE(adapter.layers.size() == weights.layers.size(), InvalidArgument,
             "an adapter of {} layers for a model of {}", adapter.layers.size(),
             weights.layers.size());
  LlamaWeights out = weights;
  for (size_t i = 0; i < out.layers.size(); ++i) {
    for (int target = 0; target < kLoraTargets; ++target) {
      const LoraPair& pair = adapter.layers[i][static_cast<size_t>(target)];
      if (!pair.a.defined()) {
        continue;
      }
      Tensor* matrix = matrix_of(out.layers[i], static_cast<LoraTarget>(target));
      backend::ArenaScope scope(*ctx.arena);
      const Tensor sum = ctx.make(Dtype::f32, matrix->shape());
      ops::dequantize(ctx, {.x = *matrix, .out = sum});
      // b a = (aᵀ)ᵀ applied to b's rows: the gradient to the input of a linear map by a.
      ops::linear_backward_input(ctx, {.d_out = pair.b,
                                       .weight = pair.a,
                                       .alpha = adapter.scale(),
                                       .write = ops::Write::accumulate,
                                       .d_x = sum});
      *matrix = own(ctx, dtype, sum.shape());
      ops::copy(ctx, {.x = sum, .out = *matrix});
    }
  }
  return out;
}

}  // namespace offbook::model
