// Inference: prompts in parts go into cached sequences, logits come out. Batches of sequences with
// different contexts and adapters share each pass.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "src/model/kv_cache.h"
#include "src/model/llama.h"

namespace offbook::model {

// Something to append to one sequence in a pass: tokens, or vectors in their place.
struct Append {
  Sequence* sequence = nullptr;
  std::span<const int32_t> tokens;
  Tensor soft_tokens;  // [n, hidden] f32 or bf16 on the CPU, instead of tokens
  const LoraAdapter* adapter = nullptr;
  bool wants_logits = true;  // of its last row
};

// Owns the memory of passes: the arena, the key/value cache and what a step needs, so that a decode
// step with a batch no larger than one seen before allocates nothing. Not thread-safe.
class Decoder {
 public:
  struct Options {
    backend::Backend backend = backend::Backend::reference;
    backend::Compute compute = backend::Compute::bf16;
    Dtype activations = Dtype::f32;
    Dtype cache = Dtype::bf16;
    int64_t cache_tokens = 8192;
    int32_t prefill_rows = 512;  // rows of a pass at most; bounds its memory
  };
  // `pool` and `model` must outlive it; the model's weights lie on the device of `backend`.
  Decoder(backend::ThreadPool& pool, const Llama& model, const Options& options);

  Sequence make_sequence() { return Sequence(cache_); }

  // Runs the appends through the model. Returns f32 [n, vocab] logits, a row for each append that wants
  // them, in order; valid until the next call. Long appends run in several passes. InvalidArgument:
  // empty appends, positions beyond the model's window; OutOfMemory: cache full (nothing is appended).
  Tensor append(std::span<const Append> appends);
  Tensor append(const Append& one) { return append(std::span(&one, 1)); }

  // Final hidden states f32 [n, hidden] of all rows of one append.
  Tensor hidden_states(const Append& one);

  // Puts a stored KV prefix [layer, 2, n, kv_head, head_dim] (keys before RoPE, f32 or bf16, CPU) behind
  // the sequence, rotated to its next positions. No model pass.
  void attach(Sequence& sequence, const Tensor& kv);

  const Llama& model() const { return model_; }
  const backend::ExecutionContext& ctx() const { return ctx_; }
  KvCache& cache() { return cache_; }
  backend::Arena& arena() { return arena_; }

 private:
  Tensor run_pass(std::span<const Append> appends, bool all_rows);
  void check(std::span<const Append> appends) const;

  const Llama& model_;
  Options options_;
  backend::Arena arena_;
  backend::ExecutionContext ctx_;
  KvCache cache_;
  float rope_scale_;
  // Host side of a pass, kept so that their memory is reused.
  std::vector<int32_t> slots_, positions_, ids_, sequences_, page_list_, last_rows_, adapter_of_row_;
  std::vector<const LoraAdapter*> adapters_;
};

}  // namespace offbook::model
