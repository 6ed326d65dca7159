// Token sequences to train on, and what a model makes of a batch of them: packed, without padding.
#pragma once
#include <cstdint>
#include <optional>
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
  // Vectors [n, hidden], f32 or bf16 on the CPU, that the model reads in place of the tokens
  // [at, at + n) (whatever ids stand there), in front of first_target. They are not trained.
  struct SoftTokens {
    int32_t at = 0;
    Tensor vectors;
    std::string key;  // names their content
  };
  std::vector<SoftTokens> soft_tokens;

  int32_t kv_rows() const { return kv.defined() ? static_cast<int32_t>(kv.dim(2)) : 0; }
};

using SequenceBatch = std::span<const TrainingSequence* const>;

struct SequencePass {
  const model::Llama& model;
  const model::LoraAdapter* adapter = nullptr;
  model::Checkpointing checkpointing = model::Checkpointing::per_layer;
  Dtype activations = Dtype::f32;
  int64_t kept_layers = 0;  // with per_layer: model::PassOptions
};

// Losses of a batch in one pass, and with a tape their gradient as its seed. Waits for the losses.
LossSum sequence_losses(const Graph& g, const SequencePass& pass, SequenceBatch batch);

// InvalidArgument: a sequence without target, longer than `window`, or with a prefix out of place.
void check_sequences(const std::vector<TrainingSequence>& sequences, int64_t window);

// Different sequences in random order, up to the first that does not fit `tokens`; at least one.
std::vector<const TrainingSequence*> draw_batch(const std::vector<TrainingSequence>& sequences,
                                                int64_t tokens, uint64_t seed);

// Losses of all sequences in order, in passes of at most `tokens`, or of one; nullopt for none.
std::optional<LossSum> losses_of_all(const Graph& g, const SequencePass& pass,
                                     const std::vector<TrainingSequence>& sequences,
                                     int64_t tokens);

// What tasks on token sequences share.
class SequenceTask : public TrainingTask {
 public:
  std::vector<Parameter>& parameters() override { return parameters_; }

 protected:
  // The model must outlive it. InvalidArgument: no training sequence, a sequence without target or
  // longer than the model's window.
  SequenceTask(const model::Llama& model, std::vector<TrainingSequence> training,
               std::vector<TrainingSequence> held_out, std::vector<Parameter> parameters);

  const model::Llama& model() const { return model_; }
  const std::vector<TrainingSequence>& training() const { return training_; }
  const std::vector<TrainingSequence>& held_out() const { return held_out_; }

 private:
  const model::Llama& model_;
  std::vector<TrainingSequence> training_;
  std::vector<TrainingSequence> held_out_;
  std::vector<Parameter> parameters_;
};

}  // namespace offbook::train
