#include "src/compress/beacon/mixed_training.h"

#include <utility>

#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

constexpr uint64_t kHeldOutSeed = 0x68656c64;  // of the first held-out batch; the others follow

}  // namespace

MixedBeaconTask::MixedBeaconTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                                 BeaconWeights& weights, const model::LoraAdapter* reader,
                                 const TaskSampler& training, const TaskSampler* held_out,
                                 const MixedTrainingOptions& options)
    : base_(base),
      weights_(weights),
      reader_(reader),
      training_(training),
      held_out_(held_out),
      options_(options),
      parameters_(train::lora_parameters(ctx, weights.lora)) {
  parameters_.push_back(train::make_parameter(ctx, "slot.vectors", weights_.slot));
  parameters_.push_back(train::make_parameter(ctx, "slot.pool", weights_.pool));
  if (reader_ != nullptr) {
    for (train::Parameter& p : train::lora_parameters(ctx, *reader_)) {
      p.name = "reader." + p.name;
      parameters_.push_back(std::move(p));
    }
  }
}

train::LossSum MixedBeaconTask::run(const Graph& g, const ReadingBatch& batch,
                                    std::array<train::LossSum, kTaskKinds>& kinds) {
  const ReadingModel model{.base = base_,
                           .weights = weights_,
                           .reader = reader_,
                           .checkpointing = options_.checkpointing,
                           .activations = options_.activations};
  const std::vector<train::LossSum> losses = read_batch(g, model, batch);
  train::LossSum total;
  for (size_t i = 0; i < losses.size(); ++i) {
    const Reading& r = batch.readings[i];
    total.sum += r.weight * losses[i].sum;
    total.count += r.weight * losses[i].count;
    train::LossSum& kind = kinds.at(static_cast<size_t>(r.kind));
    kind.sum += losses[i].sum;
    kind.count += losses[i].count;
  }
  return total;
}

train::LossSum MixedBeaconTask::micro_batch(const Graph& g, uint64_t seed) {
  const ReadingBatch batch = training_.draw(seed);
  log_.written += batch.written_tokens();
  log_.read += batch.read_tokens();
  rows_ += batch.written_tokens() + batch.read_tokens();
  return run(g, batch, log_.kinds);
}

std::optional<train::LossSum> MixedBeaconTask::evaluate(const Graph& g) {
  if (held_out_ == nullptr) {
    return std::nullopt;
  }
  held_out_sums_ = {};
  train::LossSum total;
  for (int32_t i = 0; i < options_.held_out_batches; ++i) {
    backend::ArenaScope scope(*g.ctx.arena);
    const train::LossSum part =
        run(g, held_out_->draw(kHeldOutSeed + static_cast<uint64_t>(i)), held_out_sums_);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

MixedBeaconTask::Log MixedBeaconTask::take_log() {
  return std::exchange(log_, {});
}

}  // namespace offbook::compress
