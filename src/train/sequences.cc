#include "src/train/sequences.h"

#include <algorithm>
#include <numeric>

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/ops/registry.h"

namespace offbook::train {
namespace {

// The prefixes of a batch one behind the other, in the arena, as the pass computes.
model::LayerKv prefixes_of(const backend::ExecutionContext& ctx, SequenceBatch batch,
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
          ops::copy(ctx, {.x = backend::to_device(
                              ctx, from.reshape({n, config.kv_heads, config.head_dim})),
                          .out = all.slice(0, at, at + n)});
          at += n;
        }
      }
      (which == 0 ? out.k : out.v).push_back(all);
    }
  }
  return out;
}

// Vectors in place of the tokens that stand for them. Nothing below them is trained, so the tape
// need not know.
void put_soft_tokens(const backend::ExecutionContext& ctx, SequenceBatch batch, const Tensor& x) {
  int64_t begin = 0;
  for (const TrainingSequence* s : batch) {
    for (const TrainingSequence::SoftTokens& soft : s->soft_tokens) {
      const int64_t at = begin + soft.at;
      ops::copy(ctx, {.x = backend::to_device(ctx, soft.vectors),
                      .out = x.slice(0, at, at + soft.vectors.dim(0))});
    }
    begin += static_cast<int64_t>(s->tokens.size());
  }
}

}  // namespace

void check_sequences(const std::vector<TrainingSequence>& sequences, int64_t window) {
  for (const TrainingSequence& s : sequences) {
    OB_REQUIRE(s.first_target >= 1 && s.first_target < static_cast<int32_t>(s.tokens.size()),
               InvalidArgument, "a training sequence of {} tokens has its first target at {}",
               s.tokens.size(), s.first_target);
    OB_REQUIRE(
        static_cast<int64_t>(s.tokens.size()) + s.kv_rows() <= window, InvalidArgument,
        "a training sequence of {} tokens and {} slots is longer than the model's window of {}",
        s.tokens.size(), s.kv_rows(), window);
    OB_REQUIRE(!s.kv.defined() || (s.kv.rank() == 5 && s.kv_at >= 1 && s.kv_at < s.first_target),
               InvalidArgument,
               "a KV prefix {} behind token {} of a sequence whose targets begin at {}",
               to_string(s.kv), s.kv_at, s.first_target);
    for (const TrainingSequence::SoftTokens& soft : s.soft_tokens) {
      OB_REQUIRE(soft.vectors.rank() == 2 && soft.at >= 0 &&
                     soft.at + soft.vectors.dim(0) <= s.first_target,
                 InvalidArgument,
                 "soft tokens {} from token {} of a sequence whose targets begin at {}",
                 to_string(soft.vectors), soft.at, s.first_target);
    }
  }
}

LossSum sequence_losses(const Graph& g, const SequencePass& pass, SequenceBatch batch) {
  const model::Llama& model = pass.model;
  std::vector<int32_t> ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> rows;  // whose next token is a target
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
  const model::LayerKv prefixes = prefixes_of(g.ctx, batch, model.config());
  auto path = std::make_shared<model::PackedAttention>(
      g.ctx, model.config(), model.inv_freq(),
      model::PackedAttention::Options{.sequences = sequences,
                                      .prefix = prefix_positions.empty() ? nullptr : &prefixes,
                                      .prefix_positions = prefix_positions,
                                      .positions = positions});
  if (g.tape != nullptr) {
    g.tape->keep_alive(path);
  }
  const Tensor x = model.embed(g, ints(ids), pass.activations);
  put_soft_tokens(g.ctx, batch, x);
  const Tensor hidden = model.run(g, x, *path,
                                  {.adapters = {.one = pass.adapter},
                                   .checkpointing = pass.checkpointing,
                                   .kept_layers = pass.kept_layers});
  // Only rows with a target meet the vocabulary.
  const Tensor wanted = autograd::gather_rows(g, hidden, ints(rows), autograd::Places::distinct);
  const Tensor losses =
      autograd::linear_cross_entropy(g, wanted, model.weights().lm_head, ints(targets));
  if (g.tape != nullptr) {
    ops::fill(g.ctx, {.value = 1, .out = g.tape->target(losses).tensor});
  }
  std::vector<float> values(targets.size());
  backend::download(g.ctx, losses, std::as_writable_bytes(std::span(values)));
  return {std::accumulate(values.begin(), values.end(), 0.0), static_cast<double>(values.size())};
}

std::vector<const TrainingSequence*> draw_batch(const std::vector<TrainingSequence>& sequences,
                                                int64_t tokens, uint64_t seed) {
  Random random(seed);
  std::vector<const TrainingSequence*> batch;
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  int64_t drawn = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    std::swap(order[i], order[i + random.below(order.size() - i)]);
    const TrainingSequence* s = &sequences[order[i]];
    drawn += static_cast<int64_t>(s->tokens.size());
    if (!batch.empty() && drawn > tokens) {
      break;
    }
    batch.push_back(s);
  }
  return batch;
}

std::optional<LossSum> losses_of_all(const Graph& g, const SequencePass& pass,
                                     const std::vector<TrainingSequence>& sequences,
                                     int64_t tokens) {
  if (sequences.empty()) {
    return std::nullopt;
  }
  LossSum total;
  for (size_t begin = 0; begin < sequences.size();) {
    backend::ArenaScope scope(*g.ctx.arena);
    std::vector<const TrainingSequence*> batch;
    int64_t rows = 0;
    do {
      rows += static_cast<int64_t>(sequences[begin].tokens.size());
      batch.push_back(&sequences[begin++]);
    } while (begin < sequences.size() &&
             rows + static_cast<int64_t>(sequences[begin].tokens.size()) <= tokens);
    const LossSum part = sequence_losses(g, pass, batch);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

SequenceTask::SequenceTask(const model::Llama& model, std::vector<TrainingSequence> training,
                           std::vector<TrainingSequence> held_out,
                           std::vector<Parameter> parameters)
    : model_(model),
      training_(std::move(training)),
      held_out_(std::move(held_out)),
      parameters_(std::move(parameters)) {
  OB_REQUIRE(!training_.empty(), InvalidArgument, "there is nothing to train on");
  check_sequences(training_, model.config().max_positions);
  check_sequences(held_out_, model.config().max_positions);
}

}  // namespace offbook::train
