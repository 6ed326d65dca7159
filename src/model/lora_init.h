// New adapters.
#pragma once
#include <vector>

#include "src/model/import/lora_adapter.h"

namespace offbook::model {

// What small models' compressors adapt: 135 M weights leave four matrices a layer too little room.
inline const std::vector<LoraTarget> kEveryMatrix = {
    LoraTarget::q,    LoraTarget::k,  LoraTarget::v,   LoraTarget::o,
    LoraTarget::gate, LoraTarget::up, LoraTarget::down};

struct LoraOptions {
  int64_t rank = 8;
  float alpha = 16;
  std::vector<LoraTarget> targets = {LoraTarget::q, LoraTarget::k, LoraTarget::v, LoraTarget::o};
  uint64_t seed = 0;
};

// a is normal with variance 1/in, b is zero: the adapted model starts as the base. f32 CPU tensors,
// the same bits for the same seed everywhere. InvalidArgument for a rank below 1 or no targets.
LoraAdapter make_lora_adapter(const ModelConfig& config, const LoraOptions& options);

// The same change of the model (B·A and scale) at a higher rank: the rows added to A are as in a
// new adapter, the columns added to B zero, so that training goes on from where it was with more
// room. InvalidArgument for a rank below the adapter's.
LoraAdapter widened(const LoraAdapter& adapter, int64_t rank, uint64_t seed);

// Both changes of the model at once, as one adapter of both ranks and scale 1. Either may lack a
// pair that the other has. InvalidArgument for different numbers of layers.
LoraAdapter stacked(const LoraAdapter& first, const LoraAdapter& second);

}  // namespace offbook::model
