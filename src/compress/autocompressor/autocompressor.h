// AutoCompressors (arXiv 2305.14788) in the form of METHOD.md beside this file: the final hidden
// states of summary tokens behind a segment, brought to the size of embeddings, stand as soft
// tokens for the segment in front of later ones.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/compress/compressor.h"
#include "src/model/lora_init.h"

namespace offbook::compress {

using autograd::Graph;

// What a segment hands on. Written into weights files as "accumulate" and "replace".
enum class Carry : uint8_t {
  accumulate,  // all vectors so far, the newest last (the paper's)
  replace,     // the newest alone (a Recurrent Memory Transformer's)
};

// What training changes. Writer and reader are both the base with `lora`.
struct AutoWeights {
  model::LoraAdapter lora;
  Tensor summary;  // f32 [summary tokens, hidden]: their input embeddings
  // Vectors are rms_norm(final hidden state) × scale + shift + own_words × words, inputs of summary
  // tokens summary + read_words × words; words: the mean embedding of the tokens that one of them
  // stands for, an equal part of the segment each.
  Tensor scale, shift;           // f32 [hidden]
  Tensor read_words, own_words;  // f32 [1]
  Carry carry = Carry::accumulate;
};

struct AutoInit {
  model::LoraOptions lora{.rank = 16, .alpha = 16};  // q, k, v, o
  int32_t summary_tokens = 50;
  Carry carry = Carry::accumulate;
};

// Summary tokens start as copies of the end-of-text token's embedding (the paper's start), vectors
// at the size of the embeddings of the model's first tokens.
AutoWeights new_autocompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                               const AutoInit& init);

// Calls visit(name, tensor) for what is learned beside the adapter.
template <typename Weights, typename Visit>
void each_learned(Weights& weights, const Visit& visit) {
  visit("summary.vectors", weights.summary);
  visit("vectors.scale", weights.scale);
  visit("vectors.shift", weights.shift);
  visit("words.read", weights.read_words);
  visit("words.own", weights.own_words);
}
void put_autocompressor(const AutoWeights& autocompressor, CompressorWeights& weights);
// Corrupt where names, shapes or settings do not fit the model.
AutoWeights take_autocompressor(const CompressorWeights& weights, const model::ModelConfig& config);
// With its tensors on ctx's device, and copies on the CPU; the same tensors where ctx is the CPU.
AutoWeights on_device(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor);
AutoWeights on_host(const backend::ExecutionContext& ctx, const AutoWeights& autocompressor);

// One segment of a pass.
struct AutoSegment {
  Tensor before;  // [n, hidden] vectors read in front; undefined: none
  std::span<const int32_t> tokens;
  int32_t summary = 0;  // summary tokens behind the text; the first ones of the table
};

// Views of the pass's hidden states.
struct AutoOutput {
  Tensor text;             // [tokens, hidden]
  Tensor text_and_before;  // [1 + tokens, hidden]: the row in front, which predicts the first token
  Tensor vectors;          // [summary, hidden]; undefined when none were asked for
};

struct AutoPassOptions {
  const model::LoraAdapter* lora = nullptr;  // null: the model's weights are merged
  model::Checkpointing checkpointing = model::Checkpointing::none;
  Dtype activations = Dtype::f32;
};

// Runs segments, packed: each reads token 0 (a sink), its vectors, its tokens, its summary tokens,
// at positions 0, 1, …. Differentiable in all of `weights` and in before. A segment without tokens
// has no summary.
std::vector<AutoOutput> run_segments(const Graph& g, const model::Llama& model,
                                     const AutoWeights& weights,
                                     std::span<const AutoSegment> segments,
                                     const AutoPassOptions& options);

}  // namespace offbook::compress
