// The decoder: Llama 2/3, SmolLM2, Mistral, Qwen2/2.5/3. One code for inference, compression and,
// under a tape, training, on every backend.
#pragma once
#include <array>
#include <optional>
#include <span>

#include "src/autograd/layer_maps.h"
#include "src/model/attention_path.h"
#include "src/model/import/lora_adapter.h"
#include "src/model/import/weights.h"
#include "src/model/packed_weights.h"

namespace offbook::model {

// Adapters of one pass. Either `one` for all rows, differentiable in its factors where they are
// watched, or `several` with a choice per row (inference only).
struct Adapters {
  const LoraAdapter* one = nullptr;
  std::span<const LoraAdapter* const> several;  // an entry may be null: no change
  Tensor adapter_of_row;                        // i32 [n], −1: none
};

enum class Checkpointing : uint8_t {
  none,       // all activations of a pass are kept for backward
  per_layer,  // only the residual stream is kept; a layer runs again in backward
};

struct PassOptions {
  Adapters adapters;
  Checkpointing checkpointing = Checkpointing::none;
  // With per_layer: only the last layers, this many, keep their activations all the same. Changes
  // no bit.
  int64_t kept_layers = 0;
  // Set where a layer runs again in backward: nobody reads its sum, so its last product is left
  // out.
  bool is_replay = false;
  // False where only what the path keeps is asked for: the last layer then stops at its keys and
  // values, and run() returns nothing.
  bool wants_hidden = true;
};

// Whether matrices of a layer that read the same input stand as one.
enum class Matrices : uint8_t {
  as_device,  // joined on a GPU; as they were mapped on a CPU
  joined,     // copied together on any device (for tests)
};

// Immutable after construction and shared by all passes; the tensors lie on the device it was made
// for.
class Llama {
 public:
  // The weights must fit the config (load_llama_weights saw to it). Copies them to ctx's device
  // when that is not the CPU. `packed`: the same weights for passes without a tape on the CPU; may
  // be null.
  Llama(const backend::ExecutionContext& ctx, ModelConfig config, LlamaWeights weights,
        Matrices matrices = Matrices::as_device,
        std::shared_ptr<const PackedWeights> packed = nullptr);

  const ModelConfig& config() const { return config_; }
  const LlamaWeights& weights() const { return weights_; }
  const Tensor& inv_freq() const { return inv_freq_; }  // f32 [head_dim / 2]

  // Input embeddings [n, hidden] of type `dtype`. InvalidArgument for an id outside the vocabulary.
  Tensor embed(const Graph& g, const Tensor& ids, Dtype dtype) const;

  // All layers and the final norm: x [n, hidden] → hidden states [n, hidden], where they are
  // wanted. With a tape the arena keeps what backward needs; without one it is rewound layer by
  // layer.
  Tensor run(const Graph& g, const Tensor& x, AttentionPath& path,
             const PassOptions& options) const;

  // Bytes of activations of this type that one row of a recorded pass leaves behind in a layer that
  // is not checkpointed, with `adapter` in training.
  int64_t kept_bytes_per_row(const LoraAdapter& adapter, Dtype activations) const;

  // f32 logits [rows, vocab] of hidden states.
  Tensor logits(const backend::ExecutionContext& ctx, const Tensor& hidden) const;

 private:
  struct LayerResult {
    Tensor x;
    Tensor kept_k;  // undefined unless the path keeps rows
    Tensor kept_v;
  };
  // Where a layer's sums go: new tensors, or the residual stream itself (nothing is recorded then).
  enum class Residual : uint8_t { fresh, in_place };
  // stream + in weightᵀ + bias, with what adapters change.
  Tensor add_to(const Graph& g, int index, const Tensor& stream, const Tensor& in,
                LoraTarget target, const PassOptions& options, Residual residual) const;
  // Whether a pass is so small that norms run inside the products that read them.
  bool is_small_step(const Graph& g, const Tensor& x, const PassOptions& options) const;
  // Matrices that read one normed input and stand as one.
  struct Neighbours {
    const Tensor& norm;
    const Tensor& matrix;
    const Tensor& bias;
    std::span<const LoraTarget> targets;  // in the order of the matrix's rows
  };
  // Whether these maps of a recorded pass stay as they are: no adapter changes them, and neither
  // the matrix nor the norm in front of it (where there is one) is trained.
  bool is_frozen(const Graph& g, int index, const Neighbours& maps,
                 const PassOptions& options) const;
  // The normed input of neighbouring matrices through them and their adapters.
  Tensor through(const Graph& g, int index, const Tensor& x, const Neighbours& maps,
                 const PassOptions& options) const;
  // Gate and up of the feed-forward part.
  std::array<Tensor, 2> gate_and_up(const Graph& g, int index, const Tensor& x,
                                    const PassOptions& options) const;
  // The feed-forward part of a pass, its sum with x included; of a small step, up to its gate.
  Tensor fed_forward(const Graph& g, int index, const Tensor& x, const PassOptions& options,
                     Residual residual) const;
  // One token of a cached sequence through all layers, x in place. False, and nothing done, where
  // the pass or the model is another.
  bool run_at_once(const Graph& g, const Tensor& x, const AttentionPath& path,
                   const PassOptions& options) const;
  Tensor gated_step(const Graph& g, const Tensor& x, const LlamaLayerWeights& w) const;
  // A matrix with the adapters of its targets as columns beside it, for a pass that is recorded;
  // nothing where that cannot be or does not pay.
  std::optional<autograd::AdaptedMatrix> with_adapters(const Graph& g, int index, int64_t rows,
                                                       const Tensor& matrix,
                                                       std::span<const LoraTarget> targets,
                                                       const PassOptions& options) const;
  // Queries, keys and values of a layer, [n, heads, dim] each.
  std::array<Tensor, 3> projected(const Graph& g, int index, const Tensor& x,
                                  const PassOptions& options) const;
  // What the path keeps of a layer that nobody needs more of.
  LayerResult kept_of(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                      const PassOptions& options) const;
  bool stops_at_keys(int64_t index, const PassOptions& options) const {
    return !options.wants_hidden && index + 1 == config_.layers;
  }
  // x plus what attention adds to it.
  Tensor attended_onto(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                       const PassOptions& options, Residual residual) const;
  LayerResult layer(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                    const PassOptions& options, Residual residual = Residual::fresh) const;
  Tensor run_forward(const Graph& g, Tensor x, AttentionPath& path,
                     const PassOptions& options) const;
  bool is_packed_pass(const Graph& g, const Tensor& x, const PassOptions& options) const;
  Tensor run_packed(const Graph& g, const Tensor& x, AttentionPath& path,
                    const PassOptions& options) const;
  void packed_layer(const Graph& g, int index, const Tensor& x, AttentionPath& path,
                    const PassOptions& options) const;
  Tensor run_checkpointed(const Graph& g, Tensor x, AttentionPath& path,
                          const PassOptions& options) const;

  // Matrices of a layer that read the same input as one, their rows one behind the other: fewer and
  // larger products. weights_ has views of them. Undefined on a CPU, where matrices stay as mapped.
  struct Joined {
    Tensor qkv, qkv_bias;
    Tensor gate_up;
  };
  void join(const backend::ExecutionContext& ctx);

  ModelConfig config_;
  LlamaWeights weights_;
  std::vector<Joined> joined_;
  std::shared_ptr<const PackedWeights> packed_;
  Tensor inv_freq_;
};

// A model whose floating-point and quantised matrices are plain `dtype` (bf16 or f32): training
// reads weights often enough to pay for it. Norms stay f32.
LlamaWeights dequantised(const backend::ExecutionContext& ctx, const LlamaWeights& weights,
                         Dtype dtype);

// base + scale · b a for every adapted matrix, as new tensors of type `dtype`; the others are
// shared.
LlamaWeights merged(const backend::ExecutionContext& ctx, const LlamaWeights& weights,
                    const LoraAdapter& adapter, Dtype dtype);

}  // namespace offbook::model
