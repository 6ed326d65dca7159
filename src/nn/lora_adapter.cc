#include "src/nn/lora_adapter.h"

#include "src/base/error.h"
#include "src/base/random.h"

namespace offbook::nn {

std::string_view hf_name(LoraTarget target) {
  static constexpr std::array<std::string_view, kLoraTargets> kNames = {
      "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return kNames.at(static_cast<size_t>(target));
}

int64_t LoraShapes::in(LoraTarget target) const {
  switch (target) {
    case LoraTarget::o:
      return q_width;
    case LoraTarget::down:
      return ffn;
    default:
      return hidden;
  }
}

int64_t LoraShapes::out(LoraTarget target) const {
  switch (target) {
    case LoraTarget::q:
      return q_width;
    case LoraTarget::k:
    case LoraTarget::v:
      return kv_width;
    case LoraTarget::gate:
    case LoraTarget::up:
      return ffn;
    default:
      return hidden;
  }
}

LoraAdapter make_lora_adapter(const LoraShapes& shapes, const LoraOptions& options) {
  OB_REQUIRE(options.rank >= 1, InvalidArgument, "an adapter's rank is at least 1, not {}", options.rank);
  OB_REQUIRE(!options.targets.empty(), InvalidArgument, "an adapter needs at least one target matrix");
  LoraAdapter adapter{.rank = options.rank, .alpha = options.alpha};
  adapter.layers.resize(static_cast<size_t>(shapes.layers));
  Random random(options.seed);
  for (LoraLayer& layer : adapter.layers) {
    for (const LoraTarget target : options.targets) {
      ops::LoraFactors& factors = layer.at(static_cast<size_t>(target));
      factors.a = Tensor::empty(Dtype::f32, {options.rank, shapes.in(target)});
      factors.b = Tensor::zeros(Dtype::f32, {shapes.out(target), options.rank});
      factors.scale = adapter.scale();
      const double deviation = 1.0 / std::sqrt(static_cast<double>(shapes.in(target)));
      for (int64_t i = 0; i < factors.a.numel(); ++i) {
        factors.a.data<float>()[i] = static_cast<float>(deviation * random.normal());
      }
    }
  }
  return adapter;
}

}  // namespace offbook::nn
