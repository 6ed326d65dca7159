// Supervised training of a LoRA adapter on token sequences: packed, without padding.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/model/llama.h"
#include "src/train/trainer.h"

namespace offbook::train {

// A prompt with its answer. Losses are taken on tokens[first_target] and those behind it.
struct TrainingSequence {
  std::vector<int32_t> tokens;
  int32_t first_target = 1;  // ≥ 1
  // A KV prefix that is read behind the first kv_at tokens, as Decoder::attach puts it there:
  // [layer, 2, n, kv_head, head_dim], keys before RoPE, on the CPU; undefined: none. It is not
  // trained. kv_at ≥ 1 and at most first_target - 1.
  Tensor kv;
  int32_t kv_at = 0;
  std::string kv_key;  // names its content: equal keys, equal content

  int32_t kv_rows() const { return kv.defined() ? static_cast<int32_t>(kv.dim(2)) : 0; }
};

struct LoraTaskOptions {
  int32_t micro_batch_tokens = 2048;  // sequences are packed up to this many; one longer runs alone
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
  // With per_layer: as many layers as fit in here keep their activations instead of running twice.
  int64_t kept_bytes = int64_t{1} << 30;
};

// Trains `adapter`'s factors in place on a frozen base whose matrices are plain numbers (dequantised()).
// A micro-batch holds different sequences in random order, up to the first that does not fit.
class LoraTask final : public TrainingTask {
 public:
  // The model and the adapter must outlive it. InvalidArgument: no training sequence, a sequence without
  // target or longer than the model's window.
  LoraTask(const backend::ExecutionContext& ctx, const model::Llama& model, model::LoraAdapter& adapter,
           std::vector<TrainingSequence> training, std::vector<TrainingSequence> held_out, const LoraTaskOptions& options);

  std::vector<Parameter>& parameters() override { return parameters_; }
  LossSum micro_batch(const Graph& g, uint64_t seed) override;
  std::optional<LossSum> evaluate(const Graph& g) override;

 private:
  LossSum run(const Graph& g, std::span<const TrainingSequence* const> batch);

  const model::Llama& model_;
  const model::LoraAdapter& adapter_;
  std::vector<TrainingSequence> training_;
  std::vector<TrainingSequence> held_out_;
  LoraTaskOptions options_;
  std::vector<Parameter> parameters_;
};

// Parameters of all factors of an adapter, "layers.3.q_proj.a" ….
std::vector<Parameter> lora_parameters(const backend::ExecutionContext& ctx, const model::LoraAdapter& adapter);

}  // namespace offbook::train
