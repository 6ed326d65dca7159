#include "src/model/lora_init.h"

#include <algorithm>
#include <cmath>

#include "src/base/random.h"

namespace offbook::model {
namespace {

// a [rank, in], normal with variance 1/in.
Tensor random_factor(int64_t rank, int64_t in, Random& random) {
  Tensor a = Tensor::empty(Dtype::f32, {rank, in});
  const double deviation = 1.0 / std::sqrt(static_cast<double>(in));
  for (int64_t i = 0; i < a.numel(); ++i) {
    a.data<float>()[i] = static_cast<float>(deviation * random.normal());
  }
  return a;
}

}  // namespace

LoraAdapter make_lora_adapter(const ModelConfig& config, const LoraOptions& options) {
  OB_REQUIRE(options.rank >= 1, InvalidArgument, "an adapter's rank is at least 1, not {}",
             options.rank);
  OB_REQUIRE(!options.targets.empty(), InvalidArgument,
             "an adapter needs at least one target matrix");
  LoraAdapter adapter{.rank = options.rank, .alpha = options.alpha};
  adapter.layers.resize(static_cast<size_t>(config.layers));
  Random random(options.seed);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const LoraTarget target : options.targets) {
      const Shape shape = target_shape(config, target);
      LoraPair& pair = adapter.pair(layer, target);
      pair.a = random_factor(options.rank, shape[1], random);
      pair.b = Tensor::zeros(Dtype::f32, {shape[0], options.rank});
    }
  }
  return adapter;
}

LoraAdapter widened(const LoraAdapter& adapter, int64_t rank, uint64_t seed) {
  OB_REQUIRE(rank >= adapter.rank, InvalidArgument,
             "an adapter of rank {} cannot be narrowed to {}", adapter.rank, rank);
  LoraAdapter out = adapter;
  out.rank = rank;
  out.alpha = adapter.scale() * static_cast<float>(rank);
  Random random(seed);
  for (auto& layer : out.layers) {
    for (LoraPair& pair : layer) {
      if (!pair.a.defined()) {
        continue;
      }
      const LoraPair old = pair;
      const int64_t in = old.a.shape()[1];
      const int64_t rows = old.b.shape()[0];
      pair.a = random_factor(rank, in, random);
      std::copy_n(old.a.data<float>(), old.a.numel(), pair.a.data<float>());
      pair.b = Tensor::zeros(Dtype::f32, {rows, rank});
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(old.b.data<float>() + r * adapter.rank, adapter.rank,
                    pair.b.data<float>() + r * rank);
      }
    }
  }
  return out;
}

namespace {

// Puts one adapter's factors of a matrix into rows, and columns, [at, at + rank) of zeroed ones.
void put_factors(const LoraAdapter& from, const LoraPair& pair, int64_t at, const LoraPair& to) {
  if (!pair.a.defined()) {
    return;
  }
  const int64_t in = pair.a.dim(1);
  const int64_t all = to.b.dim(1);
  std::copy_n(pair.a.data<float>(), pair.a.numel(), to.a.data<float>() + at * in);
  for (int64_t r = 0; r < pair.b.dim(0); ++r) {
    std::transform(pair.b.data<float>() + r * from.rank, pair.b.data<float>() + (r + 1) * from.rank,
                   to.b.data<float>() + r * all + at, [&](float x) { return from.scale() * x; });
  }
}

}  // namespace

LoraAdapter stacked(const LoraAdapter& first, const LoraAdapter& second) {
  OB_REQUIRE(first.layers.size() == second.layers.size(), InvalidArgument,
             "adapters of {} and of {} layers do not belong to one model", first.layers.size(),
             second.layers.size());
  const int64_t rank = first.rank + second.rank;
  LoraAdapter out{.rank = rank, .alpha = static_cast<float>(rank), .base = first.base};
  out.layers.resize(first.layers.size());
  for (size_t layer = 0; layer < out.layers.size(); ++layer) {
    for (size_t t = 0; t < kLoraTargets; ++t) {
      const LoraPair& a = first.layers[layer][t];
      const LoraPair& b = second.layers[layer][t];
      const LoraPair& shape = a.a.defined() ? a : b;
      if (shape.a.defined()) {
        out.layers[layer][t] = {.a = Tensor::zeros(Dtype::f32, {rank, shape.a.dim(1)}),
                                .b = Tensor::zeros(Dtype::f32, {shape.b.dim(0), rank})};
        put_factors(first, a, 0, out.layers[layer][t]);
        put_factors(second, b, first.rank, out.layers[layer][t]);
      }
    }
  }
  return out;
}

}  // namespace offbook::model
