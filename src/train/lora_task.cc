#include "src/train/lora_task.h"

#include <algorithm>
#include <numeric>

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/ops/registry.h"

namespace offbook::train {
namespace {

constexpr int32_t kGpuRows = 16'384;  // of an evaluation's pass

void check(const std::vector<TrainingSequence>& sequences, int64_t window) {
  for (const TrainingSequence& s : sequences) {
    OB_REQUIRE(s.first_target >= 1 && s.first_target < static_cast<int32_t>(s.tokens.size()), InvalidArgument,
               "a training sequence of {} tokens has its first target at {}", s.tokens.size(), s.first_target);
    OB_REQUIRE(static_cast<int64_t>(s.tokens.size()) + s.kv_rows() <= window, InvalidArgument,
               "a training sequence of {} tokens and {} slots is longer than the model's window of {}", s.tokens.size(),
               s.kv_rows(), window);
    OB_REQUIRE(!s.kv.defined() || (s.kv.rank() == 5 && s.kv_at >= 1 && s.kv_at < s.first_target), InvalidArgument,
               "a KV prefix {} behind token {} of a sequence whose targets begin at {}", to_string(s.kv), s.kv_at,
               s.first_target);
  }
}

// The prefixes of a batch one behind the other, in the arena, as the pass computes.
model::LayerKv prefixes_of(const backend::ExecutionContext& ctx, std::span<const TrainingSequence* const> batch,
                           const model::ModelConfig& config) {
  int64_t rows = 0;
  for (const TrainingSequence* s : batch) {
    rows += s->kv_rows();
  }
  model::LayerKv out;
  if (rows == 0) {
    return out;
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (int64_t which = 0; which < 2; ++which) {
      const Tensor all = ctx.make(ctx.activations(), {rows, config.kv_heads, config.head_dim});
      int64_t at = 0;
      for (const TrainingSequence* s : batch) {
        if (const int64_t n = s->kv_rows(); n > 0) {
          const Tensor from = s->kv.slice(0, layer, layer + 1).slice(1, which, which + 1);
          ops::copy(ctx, {.x = backend::to_device(ctx, from.reshape({n, config.kv_heads, config.head_dim})),
                          .out = all.slice(0, at, at + n)});
          at += n;
        }
      }
      (which == 0 ? out.k : out.v).push_back(all);
    }
  }
  return out;
}

}  // namespace

std::vector<Parameter> lora_parameters(const backend::ExecutionContext& ctx, const model::LoraAdapter& adapter) {
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

LoraTask::LoraTask(const backend::ExecutionContext& ctx, const model::Llama& model, model::LoraAdapter& adapter,
                   std::vector<TrainingSequence> training, std::vector<TrainingSequence> held_out,
                   const LoraTaskOptions& options)
    : model_(model),
      adapter_(adapter),
      training_(std::move(training)),
      held_out_(std::move(held_out)),
      options_(options),
      parameters_(lora_parameters(ctx, adapter)) {
  OB_REQUIRE(!training_.empty(), InvalidArgument, "there is nothing to train on");
  check(training_, model.config().max_positions);
  check(held_out_, model.config().max_positions);
}

LossSum LoraTask::micro_batch(const Graph& g, uint64_t seed) {
  Random random(seed);
  std::vector<const TrainingSequence*> batch;
  std::vector<size_t> order(training_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  int64_t tokens = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    std::swap(order[i], order[i + random.below(order.size() - i)]);
    const TrainingSequence* s = &training_[order[i]];
    tokens += static_cast<int64_t>(s->tokens.size());
    if (!batch.empty() && tokens > options_.micro_batch_tokens) {
      break;
    }
    batch.push_back(s);
  }
  return run(g, batch);
}

std::optional<LossSum> LoraTask::evaluate(const Graph& g) {
  if (held_out_.empty()) {
    return std::nullopt;
  }
  // One a pass keeps a CPU's memory small; a GPU wants more rows.
  const int64_t most =
      g.ctx.device() == Device::cuda ? std::max(options_.micro_batch_tokens, kGpuRows) : 0;
  LossSum total;
  for (size_t begin = 0; begin < held_out_.size();) {
    backend::ArenaScope scope(*g.ctx.arena);
    std::vector<const TrainingSequence*> batch;
    int64_t rows = 0;
    do {
      rows += static_cast<int64_t>(held_out_[begin].tokens.size());
      batch.push_back(&held_out_[begin++]);
    } while (begin < held_out_.size() &&
             rows + static_cast<int64_t>(held_out_[begin].tokens.size()) <= most);
    const LossSum part = run(g, batch);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

LossSum LoraTask::run(const Graph& g, std::span<const TrainingSequence* const> batch) {
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> rows;     // whose next token is a target
  std::vector<int32_t> targets;
  std::vector<model::PackedSequence> sequences;
  std::vector<int32_t> prefix_positions;
  for (const TrainingSequence* s : batch) {
    const auto begin = static_cast<int32_t>(ids.size());
    const auto n = static_cast<int32_t>(s->tokens.size());
    for (int32_t i = 0; i < n; ++i) {
      ids.push_back(s->tokens[static_cast<size_t>(i)]);
      positions.push_back(i < s->kv_at ? i : i + s->kv_rows());
      if (i >= s->first_target) {
        rows.push_back(begin + i - 1);
        targets.push_back(s->tokens[static_cast<size_t>(i)]);
      }
    }
    sequences.push_back({.length = n,
                         .prefix_begin = static_cast<int32_t>(prefix_positions.size()),
                         .prefix_len = s->kv_rows(),
                         .before = s->kv.defined() ? s->kv_at : 0});
    for (int32_t i = 0; i < s->kv_rows(); ++i) {
      prefix_positions.push_back(s->kv_at + i);
    }
  }
  const auto ints = [&](const std::vector<int32_t>& v) {
    return model::make_ints(g.ctx, v, {static_cast<int64_t>(v.size())});
  };
  const model::LayerKv prefixes = prefixes_of(g.ctx, batch, model_.config());
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, model_.config(), model_.inv_freq(),
      model::PackedAttention::Options{.sequences = sequences,
                                      .prefix = prefix_positions.empty() ? nullptr : &prefixes,
                                      .prefix_positions = prefix_positions,
                                      .positions = positions});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  const int64_t row_bytes = static_cast<int64_t>(ids.size()) *
                            model_.kept_bytes_per_row(adapter_, options_.activations);
  const Tensor hidden =
      model_.run(g, model_.embed(g, ints(ids), options_.activations), *path,
                 {.adapters = {.one = &adapter_},
                  .checkpointing = options_.checkpointing,
                  .kept_layers = options_.kept_bytes / std::max<int64_t>(1, row_bytes)});
  // Only rows with a target meet the vocabulary.
  const Tensor wanted = autograd::gather_rows(g, hidden, ints(rows));
  const Tensor losses = autograd::linear_cross_entropy(g, wanted, model_.weights().lm_head, ints(targets));
  if (g.tape != nullptr) {
    ops::fill(g.ctx, {.value = 1, .out = g.tape->target(losses).tensor});
  }
  std::vector<float> values(targets.size());
  backend::download(g.ctx, losses, std::as_writable_bytes(std::span(values)));
  return {std::accumulate(values.begin(), values.end(), 0.0), static_cast<double>(values.size())};
}

}  // namespace offbook::train
