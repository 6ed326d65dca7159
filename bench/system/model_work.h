// Whole models at work on a device, timed: what the bench prints and the GPU bars judge. Weights
// are random, of the shapes of known models; nothing needs a download.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/backend/compute_device.h"
#include "src/model/llama.h"

namespace offbook::bench {

model::ModelConfig llama2_7b();
model::ModelConfig llama31_8b();
model::ModelConfig smollm2_135m();
// "llama2_7b", "llama31_8b" or "smollm2".
model::ModelConfig config_named(std::string_view name);

// bf16 matrices of small random numbers, made in the memory of ctx's device.
model::Llama random_model(const backend::ExecutionContext& ctx, const model::ModelConfig& config);

// Device and model of a measurement.
struct Bench {
  backend::ComputeDevice& device;
  const model::Llama& model;
  backend::ExecutionContext ctx() const { return device.context(backend::Compute::bf16); }
};

// GPU memory taken at most by this program, so far.
double peak_gib(const Bench& bench);

// What a step of one sequence must read: bf16 matrices without the embedding table, and the cache.
double decode_bytes(const Bench& bench, int64_t kept);
// Bytes a millisecond of a large copy within the device, those read and those written.
double copy_bytes_per_ms(const Bench& bench);

// Milliseconds until the logits of the last token are on the host: the median of `runs` after one
// more.
double prefill_ms(const Bench& bench, int32_t tokens, int runs);
// The same of vectors in place of tokens, from the host's memory.
double soft_prefill_ms(const Bench& bench, int32_t tokens, int runs);

// Milliseconds a greedy token with `kept` in the cache, as `ask` decodes: the median of `steps`.
double decode_ms(const Bench& bench, int64_t kept, int steps);

// Milliseconds from a question of so many tokens to its first token, behind `kept` tokens whose
// keys and values are in the cache: the median of `runs`.
double question_ms(const Bench& bench, int64_t kept, int32_t question, int runs);

// Tokens a second of all rows together, each with `kept` of its own; `adapters` different ones of
// rank 8 on q, k, v, o take turns (0: none).
double batch_decode_rate(const Bench& bench, int rows, int64_t kept, int adapters, int steps);

struct TrainingRate {
  double tokens_per_second = 0;
  double peak_gib = 0;  // of the GPU, taken by this program
  std::string checkpointing;
};

struct Kept {
  model::Checkpointing checkpointing = model::Checkpointing::none;
  int64_t bytes = 0;  // with per_layer: of layers that keep their activations all the same
};

// A LoRA of rank 8 on q, k, v, o: `batch` sequences of `length` tokens, all of them targets, a
// step. The median step, as for all training here.
TrainingRate lora_rate(const Bench& bench, int batch, const Kept& kept, int steps,
                       int32_t length = 4096);

// Every weight in training, f32 copies of bf16 weights: `sequences` of 2,048 tokens a step, so many
// of them at once.
TrainingRate full_rate(const Bench& bench, int sequences, int at_once, int steps);

// The beacon of the pre-study: rank 64 on all matrices, 16 windows a step of 1,975 tokens written
// on average, 512 read and four spans of 128 recalled; written and read tokens count.
TrainingRate beacon_rate(const Bench& bench, int windows, int steps);

// Source tokens a second of a writing pass of `batch` segments of 1,536 tokens and 50 slots.
double compress_rate(const Bench& bench, int batch, int runs);

}  // namespace offbook::bench
