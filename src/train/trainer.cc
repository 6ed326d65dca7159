#include "src/train/trainer.h"

#include <chrono>
#include <cmath>

#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/train/checkpoint.h"

namespace offbook::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Run {
 public:
  Run(const backend::ExecutionContext& ctx, FileSystem& fs, TrainingTask& task,
      const TrainerOptions& options)
      : ctx_(ctx), fs_(fs), task_(task), options_(options), runs_(runs_of(task.parameters())) {
    state_.recipe = options.recipe;
    if (!options_.checkpoint.empty()) {
      if (auto found = load_checkpoint(ctx_, fs_, options_.checkpoint, options_.recipe, task_.parameters(), best_)) {
        state_ = std::move(*found);
        refresh_working(ctx_, runs_);
      }
    }
  }

  TrainResult run(const std::function<bool(const StepReport&)>& on_step) {
    TrainEnd end = TrainEnd::finished;
    while (state_.step < options_.steps && end == TrainEnd::finished) {
      StepReport report = step();
      if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
        end = TrainEnd::diverged;
      } else {
        ++state_.step;
        state_.last_loss = report.loss;
        if (options_.evaluate_every > 0 && state_.step % options_.evaluate_every == 0) {
          report.held_out = evaluate();
        }
        if (options_.patience > 0 && state_.evaluations_without_gain >= options_.patience) {
          end = TrainEnd::early_stop;
        }
      }
      const bool go_on = on_step(report);
      if (!go_on && end == TrainEnd::finished) {
        end = TrainEnd::cancelled;
      }
      if (end == TrainEnd::cancelled || due()) {
        save();
      }
    }
    if (end != TrainEnd::cancelled) {
      finish(end);
    }
    return {.end = end, .steps = state_.step, .last_loss = state_.last_loss, .best_held_out = state_.best_held_out};
  }

 private:
  StepReport step() {
    const int64_t number = state_.step + 1;
    LossSum total;
    Random random(options_.seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(number));
    std::vector<uint64_t> seeds(static_cast<size_t>(options_.accumulation));
    for (uint64_t& seed : seeds) {
      seed = random.bits();
    }
    const auto most = static_cast<size_t>(std::max(1, task_.at_once()));
    for (size_t i = 0; i < seeds.size(); i += most) {
      backend::ArenaScope scope(*ctx_.arena);
      autograd::Tape tape(ctx_);
      for (const Parameter& run : runs_) {
        tape.watch(run.watched(), run.grad);
      }
      const LossSum part = task_.micro_batches(
          Graph{ctx_, &tape}, std::span(seeds).subspan(i, std::min(most, seeds.size() - i)));
      tape.backward();
      total.sum += part.sum;
      total.count += part.count;
    }
    const auto warmup = static_cast<int64_t>(std::ceil(options_.warmup_share * static_cast<float>(options_.steps)));
    StepReport report{.step = number,
                      .loss = total.mean(),
                      .lr = cosine_rate(options_.lr, number, options_.steps, warmup, options_.lr_floor),
                      .targets = static_cast<int64_t>(total.count)};
    const float scale = total.count > 0 ? static_cast<float>(1 / total.count) : 0;
    report.gradient_norm = adamw_step(ctx_, task_.parameters(), options_.adamw, report.lr, number,
                                      std::isfinite(report.loss) ? scale : std::nanf(""));
    return report;
  }

  std::optional<double> evaluate() {
    backend::ArenaScope scope(*ctx_.arena);
    const std::optional<LossSum> held_out = task_.evaluate(Graph{ctx_});
    if (!held_out) {
      return std::nullopt;
    }
    if (!state_.best_held_out || held_out->mean() < *state_.best_held_out) {
      state_.best_held_out = held_out->mean();
      state_.evaluations_without_gain = 0;
      best_.clear();
      for (const Parameter& p : task_.parameters()) {
        best_.push_back(Tensor::empty(Dtype::f32, p.value.shape()));
        backend::download(ctx_, p.value, {best_.back().raw(), static_cast<size_t>(best_.back().bytes())});
      }
    } else {
      ++state_.evaluations_without_gain;
    }
    return held_out->mean();
  }

  bool due() const {
    return state_.step % options_.save_every == 0 || seconds_since(saved_at_) >= options_.save_seconds;
  }

  void save() {
    if (!options_.checkpoint.empty()) {
      save_checkpoint(ctx_, fs_, options_.checkpoint, state_, task_.parameters(), best_);
    }
    saved_at_ = Clock::now();
  }

  // Leaves the parameters at the best state that was seen, and the checkpoint at the end of the run.
  void finish(TrainEnd end) {
    const bool evaluated = options_.evaluate_every > 0 && state_.step % options_.evaluate_every == 0;
    if (end == TrainEnd::finished && !evaluated) {
      evaluate();
    }
    save();
    for (size_t i = 0; i < best_.size(); ++i) {
      backend::upload(ctx_, {best_[i].raw(), static_cast<size_t>(best_[i].bytes())}, task_.parameters()[i].value);
    }
    refresh_working(ctx_, runs_);
  }

  const backend::ExecutionContext& ctx_;
  FileSystem& fs_;
  TrainingTask& task_;
  const TrainerOptions& options_;
  std::vector<Parameter> runs_;  // of the task's parameters
  RunState state_;
  std::vector<Tensor> best_;  // host copies, one a parameter; empty before the first evaluation
  Clock::time_point saved_at_ = Clock::now();
};

}  // namespace

TrainResult train(const backend::ExecutionContext& ctx, FileSystem& fs, TrainingTask& task, const TrainerOptions& options,
                  const std::function<bool(const StepReport&)>& on_step) {
  OB_REQUIRE(options.steps >= 1 && options.accumulation >= 1 && options.lr > 0 && options.save_every >= 1,
             InvalidArgument, "steps {}, accumulation {}, rate {} and save interval {} are positive", options.steps,
             options.accumulation, options.lr, options.save_every);
  return Run(ctx, fs, task, options).run(on_step);
}

}  // namespace offbook::train
