// Weights of a beacon: new ones, and as a file's tensors.
#pragma once
#include "src/compress/beacon/beacon.h"
#include "src/compress/compressor.h"
#include "src/model/lora_init.h"

namespace offbook::compress {

struct BeaconInit {
  model::LoraOptions lora{.rank = 8, .alpha = 16, .targets = model::kEveryMatrix};
  std::vector<int32_t> ratios = {8, 16, 32};  // rising
  float pool = 0.3f;
  int64_t reader_rank = 0;  // of an adapter of q, k, v, o under which slots are read; 0: the base
  uint64_t seed = 0;
};

// A beacon that has not been trained: the writer is the base, slots look like a comma (of the
// inputs tried, the one that disturbs the untrained network least) with a little noise, so that
// ratios can grow apart.
BeaconWeights new_beacon(const backend::ExecutionContext& ctx, const BaseModel& base,
                         const BeaconInit& init);

// Tensors slot.vectors, slot.pool and the adapters'; settings ratios, rank, alpha, and reader_rank,
// reader_alpha where a reader has an adapter. Copies.
void put_beacon(const BeaconWeights& beacon, CompressorWeights& weights);
// Corrupt where names, shapes or settings do not fit the model.
BeaconWeights take_beacon(const CompressorWeights& weights, const model::ModelConfig& config);

// With its tensors on ctx's device, and copies on the CPU; the same tensors where ctx is the CPU.
BeaconWeights on_device(const backend::ExecutionContext& ctx, const BeaconWeights& beacon);
BeaconWeights on_host(const backend::ExecutionContext& ctx, const BeaconWeights& beacon);

}  // namespace offbook::compress
