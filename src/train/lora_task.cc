#include "src/train/lora_task.h"

#include <algorithm>

namespace offbook::train {
namespace {

constexpr int32_t kGpuRows = 16'384;  // of an evaluation's pass

}  // namespace

std::vector<Parameter> lora_parameters(const backend::ExecutionContext& ctx,
                                       const model::LoraAdapter& adapter) {
  std::vector<NamedTensor> out;
  for (size_t layer = 0; layer < adapter.layers.size(); ++layer) {
    for (int t = 0; t < model::kLoraTargets; ++t) {
      const model::LoraPair& pair = adapter.layers[layer][static_cast<size_t>(t)];
      if (pair.a.defined()) {
        const std::string name =
            fmt::format("layers.{}.{}", layer, model::to_string(static_cast<model::LoraTarget>(t)));
        out.push_back({name + ".a", pair.a});
        out.push_back({name + ".b", pair.b});
      }
    }
  }
  return make_parameters(ctx, out);
}

LoraTask::LoraTask(const backend::ExecutionContext& ctx, const model::Llama& model,
                   model::LoraAdapter& adapter, std::vector<TrainingSequence> training,
                   std::vector<TrainingSequence> held_out, const LoraTaskOptions& options)
    : SequenceTask(model, std::move(training), std::move(held_out), lora_parameters(ctx, adapter)),
      adapter_(adapter),
      options_(options) {}

SequencePass LoraTask::pass_of(int64_t rows) const {
  const int64_t layer_bytes = rows * model().kept_bytes_per_row(adapter_, options_.activations);
  return {.model = model(),
          .adapter = &adapter_,
          .checkpointing = options_.checkpointing,
          .activations = options_.activations,
          .kept_layers = options_.kept_bytes / std::max<int64_t>(1, layer_bytes)};
}

LossSum LoraTask::micro_batch(const Graph& g, uint64_t seed) {
  const auto batch = draw_batch(training(), options_.micro_batch_tokens, seed);
  int64_t rows = 0;
  for (const TrainingSequence* s : batch) {
    rows += static_cast<int64_t>(s->tokens.size());
  }
  return sequence_losses(g, pass_of(rows), batch);
}

std::optional<LossSum> LoraTask::evaluate(const Graph& g) {
  // One a pass keeps a CPU's memory small; a GPU wants more rows.
  const int64_t most =
      g.ctx.device() == Device::cuda ? std::max(options_.micro_batch_tokens, kGpuRows) : 0;
  return losses_of_all(g, pass_of(most), held_out(), most);
}

}  // namespace offbook::train
