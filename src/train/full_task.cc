#include "src/train/full_task.h"

namespace offbook::train {

std::vector<Parameter> model_parameters(const backend::ExecutionContext& ctx,
                                        const model::Llama& model) {
  const model::LlamaWeights& w = model.weights();
  std::vector<NamedTensor> all{{"embedding", w.embedding}};
  if (w.lm_head.raw() != w.embedding.raw()) {
    all.push_back({"lm_head", w.lm_head});
  }
  for (size_t i = 0; i < w.layers.size(); ++i) {
    const model::LlamaLayerWeights& l = w.layers[i];
    for (const auto& [name, tensor] : {NamedTensor{"attn_norm", l.attn_norm},
                                       {"q", l.q},
                                       {"k", l.k},
                                       {"v", l.v},
                                       {"o", l.o},
                                       {"q_bias", l.q_bias},
                                       {"k_bias", l.k_bias},
                                       {"v_bias", l.v_bias},
                                       {"o_bias", l.o_bias},
                                       {"q_norm", l.q_norm},
                                       {"k_norm", l.k_norm},
                                       {"ffn_norm", l.ffn_norm},
                                       {"gate", l.gate},
                                       {"up", l.up},
                                       {"down", l.down}}) {
      if (tensor.defined()) {
        all.push_back({fmt::format("layers.{}.{}", i, name), tensor});
      }
    }
  }
  all.push_back({"final_norm", w.final_norm});
  return make_master_parameters(ctx, all);
}

FullTask::FullTask(const backend::ExecutionContext& ctx, const model::Llama& model,
                   std::vector<TrainingSequence> training, std::vector<TrainingSequence> held_out,
                   const FullTaskOptions& options)
    : SequenceTask(model, std::move(training), std::move(held_out), model_parameters(ctx, model)),
      options_(options) {}

SequencePass FullTask::pass() const {
  return {.model = model(),
          .checkpointing = options_.checkpointing,
          .activations = options_.activations,
          .kept_layers = options_.kept_layers};
}

LossSum FullTask::micro_batch(const Graph& g, uint64_t seed) {
  return sequence_losses(g, pass(), draw_batch(training(), options_.micro_batch_tokens, seed));
}

std::optional<LossSum> FullTask::evaluate(const Graph& g) {
  return losses_of_all(g, pass(), held_out(), options_.micro_batch_tokens);
}

}  // namespace offbook::train
