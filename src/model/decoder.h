// Inference: prompts in parts go into cached sequences, logits come out. Batches of sequences with
// different contexts and adapters share each pass.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "src/backend/recorded_pass.h"
#include "src/model/kv_cache.h"
#include "src/model/llama.h"
#include "src/model/pass_inputs.h"

namespace offbook::model {

// Something to append to one sequence in a pass: tokens, or vectors in their place.
struct Append {
  Sequence* sequence = nullptr;
  std::span<const int32_t> tokens;
  Tensor soft_tokens;  // [n, hidden] f32 or bf16 on the CPU, instead of tokens
  const LoraAdapter* adapter = nullptr;
  bool wants_logits = true;  // of its last rows:
  int32_t logit_rows = 1;    // how many; more than one only where all appends fit one pass
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
  // On the CPU. `pool` and `model` must outlive it.
  Decoder(backend::ThreadPool& pool, const Llama& model, const Options& options);
  // On the device of `where`, which says backend and compute type and whose pool, allocator and GPU
  // must outlive it, as `model`, whose weights lie there. Its arena is not used.
  Decoder(const backend::ExecutionContext& where, const Llama& model, const Options& options);
  // What suits the device of `where`: long passes and bf16 between operations on a GPU.
  static Options options_for(const backend::ExecutionContext& where, int64_t cache_tokens);

  Sequence make_sequence() { return Sequence(cache_); }

  // Runs the appends through the model. Returns f32 [n, vocab] logits, logit_rows for each append
  // that wants them, in order; valid until the next call. Long appends run in several passes.
  // InvalidArgument: empty appends, positions beyond the model's window; OutOfMemory: cache full
  // (nothing is appended).
  Tensor append(std::span<const Append> appends);
  Tensor append(const Append& one) { return append(std::span(&one, 1)); }

  // One greedy step: each append is one token, and next[i] becomes the likeliest token behind it.
  // On a GPU the step is recorded once and launched as a whole from then on, the choice included;
  // only ids come back. Errors of append.
  void step(std::span<const Append> appends, std::span<int32_t> next);

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
  // Numbers of a pass that do not change from step to step.
  struct PassShape {
    int32_t max_length = 0;
    int32_t max_kv_length = 0;
    bool has_adapters = false;
    int32_t first_page = -1;  // ops::PagedAttentionArgs
  };
  // A step for so many rows, pages and adapters. Its lists and its result have memory of their own.
  struct Recorded {
    size_t rows = 0;
    int64_t page_entries = 0;
    PassShape shape;
    std::vector<const LoraAdapter*> adapters;
    Tensor block;
    Tensor chosen;  // i32 [rows]
    std::unique_ptr<backend::RecordedPass> pass;
  };

  Tensor run_pass(std::span<const Append> appends, bool all_rows);
  void gather_inputs(std::span<const Append> appends);
  PassShape shape_of_inputs() const;
  Tensor hidden_of(const PassInputs::Views& in, const PassShape& shape, const Tensor& x);
  Tensor logits_of(const PassInputs::Views& in, const Tensor& hidden);
  Recorded& recorded_step(size_t rows);
  const LoraAdapter* there(const LoraAdapter* adapter);
  void check(std::span<const Append> appends) const;

  const Llama& model_;
  Options options_;
  backend::Arena arena_;
  backend::ExecutionContext ctx_;
  KvCache cache_;
  float rope_scale_;
  PassInputs inputs_;  // kept so that its memory is reused
  std::vector<const LoraAdapter*> adapters_;
  std::vector<std::unique_ptr<Recorded>> recorded_;
  // Copies of adapters on a GPU, by the memory of their first factor.
  struct Uploaded {
    std::weak_ptr<Storage> original;
    std::unique_ptr<LoraAdapter> copy;
  };
  std::vector<Uploaded> uploaded_;
};

}  // namespace offbook::model
