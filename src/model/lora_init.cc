#include "src/model/lora_init.h"

#include <cmath>

#include "src/base/random.h"

namespace offbook::model {

LoraAdapter make_lora_adapter(const ModelConfig& config, const LoraOptions& options) {
  OB_REQUIRE(options.rank >= 1, InvalidArgument, "an adapter's rank is at least 1, not {}", options.rank);
  OB_REQUIRE(!options.targets.empty(), InvalidArgument, "an adapter needs at least one target matrix");
  LoraAdapter adapter{.rank = options.rank, .alpha = options.alpha};
  adapter.layers.resize(static_cast<size_t>(config.layers));
  Random random(options.seed);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const LoraTarget target : options.targets) {
      const Shape shape = target_shape(config, target);
      LoraPair& pair = adapter.pair(layer, target);
      pair.a = Tensor::empty(Dtype::f32, {options.rank, shape[1]});
      pair.b = Tensor::zeros(Dtype::f32, {shape[0], options.rank});
      const double deviation = 1.0 / std::sqrt(static_cast<double>(shape[1]));
      for (int64_t i = 0; i < pair.a.numel(); ++i) {
        pair.a.data<float>()[i] = static_cast<float>(deviation * random.normal());
      }
    }
  }
  return adapter;
}

}  // namespace offbook::model
