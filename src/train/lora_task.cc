#include "src/train/lora_task.h"

#include <algorithm>

namespace offbook::train {
namespace {

constexpr int32_t kGpuRows = 16'384;  // of an evaluation's pass

int64_t rows_of(SequenceBatch batch) {
  int64_t rows = 0;
  for (const TrainingSequence* s : batch) {
    rows += static_cast<int64_t>(s->tokens.size());
  }
  return rows;
}

// How many sequences from the first on have at most `rows` together; at least one.
size_t count_within(SequenceBatch batch, int64_t rows) {
  size_t count = 1;
  while (count < batch.size() && rows_of(batch.first(count + 1)) <= rows) {
    ++count;
  }
  return count;
}

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

// Rows of a pass that no layer runs twice for; 0: it is not cut for that.
int64_t LoraTask::rows_that_keep_all(const Graph& g) const {
  if (g.tape == nullptr || g.ctx.device() != Device::cpu ||
      options_.checkpointing != model::Checkpointing::per_layer) {
    return 0;
  }
  const int64_t row_bytes =
      model().config().layers * model().kept_bytes_per_row(adapter_, options_.activations);
  const int64_t rows = options_.kept_bytes / std::max<int64_t>(1, row_bytes);
  return rows >= options_.fewest_rows ? rows : 0;
}

LossSum LoraTask::micro_batch(const Graph& g, uint64_t seed) {
  const auto drawn = draw_batch(training(), options_.micro_batch_tokens, seed);
  const int64_t most = rows_that_keep_all(g);
  if (most == 0 || rows_of(drawn) <= most) {
    return sequence_losses(g, pass_of(rows_of(drawn)), drawn);
  }
  LossSum total;
  for (SequenceBatch rest = drawn; !rest.empty();) {
    const SequenceBatch part = rest.first(count_within(rest, most));
    rest = rest.subspan(part.size());
    backend::ArenaScope scope(*g.ctx.arena);
    autograd::Tape tape(g.ctx, g.tape);
    const LossSum losses = sequence_losses({g.ctx, &tape}, pass_of(rows_of(part)), part);
    tape.backward();
    total.sum += losses.sum;
    total.count += losses.count;
  }
  return total;
}

std::optional<LossSum> LoraTask::evaluate(const Graph& g) {
  // One a pass keeps a CPU's memory small; a GPU wants more rows.
  const int64_t most =
      g.ctx.device() == Device::cuda ? std::max(options_.micro_batch_tokens, kGpuRows) : 0;
  return losses_of_all(g, pass_of(most), held_out(), most);
}

}  // namespace offbook::train
