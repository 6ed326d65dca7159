#include "src/learn/train_stage.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "src/ingest/content_hash.h"
#include "src/learn/adapter_files.h"
#include "src/model/adapter_device.h"
#include "src/model/pass_plan.h"
#include "src/store/check.h"

namespace offbook::learn {
namespace {

constexpr const char* kUnit = "adapter";

// Everything the result depends on, as one hash.
std::string recipe_of(const SequenceSet& training, const SequenceSet& held_out,
                      const model::LanguageModel& model, const TrainStageOptions& o) {
  std::string text = fmt::format(
      "{} rank {} alpha {} seed {} lr {} to {} epochs {} tokens {} batch {}×{} evaluations {} {} "
      "over {} targets",
      model.fingerprint().model, o.lora.rank, o.lora.alpha, o.lora.seed, o.lr, o.lr_floor, o.epochs,
      o.max_tokens, o.micro_batch_tokens, o.accumulation, o.evaluations, o.patience, o.reader_id);
  for (const model::LoraTarget target : o.lora.targets) {
    text += fmt::format(" {}", model::to_string(target));
  }
  for (const SequenceSet* set : {&training, &held_out}) {
    text += '\n';
    for (const train::TrainingSequence& s : set->sequences) {
      text += fmt::format(" {}:{}{}", s.first_target, s.tokens.size(),
                          s.kv.defined() ? fmt::format(" {} at {}", s.kv_key, s.kv_at) : "");
      for (const auto& soft : s.soft_tokens) {
        text += fmt::format(" soft {} at {}", soft.key, soft.at);
      }
      text.append(reinterpret_cast<const char*>(s.tokens.data()), s.tokens.size() * 4);
    }
  }
  return ingest::hash_text(text);
}

std::vector<store::TrainedOn> documents_of(store::Corpus& corpus, const ExampleSplit& split) {
  std::set<std::string> ids;
  for (const Example& e : split.training) {
    ids.insert(e.document_id);
  }
  std::vector<store::TrainedOn> out;
  const auto building = corpus.generations().building();
  const int64_t generation = building ? building->number : corpus.generations().require_active();
  for (const store::StoredDocument& d : corpus.documents().list(generation)) {
    // A question of no document may rest on any.
    if (ids.contains(d.document.id) || ids.contains("")) {
      out.push_back({d.document.id, d.document.content_hash});
    }
  }
  return out;
}

// The working directory with nothing in it but this run's state.
std::filesystem::path checkpoint_of(store::Corpus& corpus, const std::string& recipe) {
  const auto directory = corpus.directory() / "work";
  const std::string mine = "train-" + recipe + ".safetensors";
  corpus.fs().create_directories(directory);
  for (const std::string& name : corpus.fs().list(directory)) {
    if (name != mine && name.starts_with("train-")) {
      corpus.fs().remove(directory / name);
    }
  }
  return directory / mine;
}

// A group's adapter is a stage of its own, so that planning one does not forget the others.
std::string stage_of(const std::string& group) {
  return group.empty() ? store::kStageTrain : std::string(store::kStageTrain) + "/" + group;
}

std::optional<std::string> done_before(store::Corpus& corpus, const std::string& stage,
                                       const std::string& recipe) {
  const auto job = corpus.jobs().find(stage, kUnit);
  if (!job || job->state != store::JobState::done || job->input != recipe) {
    return std::nullopt;
  }
  const auto record = corpus.adapters().find(job->detail);
  return record && !record->is_stale ? std::optional(record->id) : std::nullopt;
}

// One training run over sequences that are made.
class AdapterRun {
 public:
  AdapterRun(store::Corpus& corpus, const model::LanguageModel& model,
             const backend::ExecutionContext& ctx, const TrainStageOptions& options)
      : corpus_(corpus), model_(model), ctx_(ctx), options_(options) {}

  model::LoraAdapter run(const SequenceSet& training, const SequenceSet& held_out,
                         const std::filesystem::path& checkpoint, const std::string& recipe,
                         TrainOutcome& outcome) {
    backend::ExecutionContext ctx = ctx_;
    ctx.compute = backend::Compute::bf16;
    model::LoraAdapter adapter =
        model::on_device(ctx, model::make_lora_adapter(model_.config(), options_.lora));
    adapter.base = model_.fingerprint();
    const model::Llama base(
        ctx, model_.config(),
        options_.reader == nullptr
            ? model::dequantised(ctx, model_.llama().weights(), Dtype::bf16)
            : model::merged(ctx, model_.llama().weights(), model::on_device(ctx, *options_.reader),
                            Dtype::bf16));
    train::LoraTask task(ctx, base, adapter, training.sequences, held_out.sequences,
                         {.micro_batch_tokens = options_.micro_batch_tokens,
                          .checkpointing = checkpointing(ctx),
                          .activations = ctx.activations()});
    outcome.first_held_out = held_out_loss(ctx, task);
    const train::TrainerOptions trainer = trainer_options(training.tokens, checkpoint, recipe);
    outcome.result =
        train::train(ctx, corpus_.fs(), task, trainer, [&](const train::StepReport& report) {
          if (options_.on_progress) {
            options_.on_progress({report.step, trainer.steps, report.loss});
          }
          return !options_.stop.stop_requested();
        });
    const model::LoraAdapter made = model::on_host(ctx, adapter);
    if (options_.reader == nullptr) {
      return made;
    }
    model::LoraAdapter both = model::stacked(model::on_host(ctx, *options_.reader), made);
    both.base = made.base;
    return both;
  }

 private:
  // A GPU has room to keep activations.
  model::Checkpointing checkpointing(const backend::ExecutionContext& ctx) const {
    if (ctx.device() == Device::cpu) {
      return model::Checkpointing::per_layer;
    }
    const int64_t rows =
        std::max<int64_t>(options_.micro_batch_tokens, model_.config().max_positions);
    return model::plan_pass(ctx, model_.config(), {.least_rows = rows, .most_rows = rows})
        .checkpointing;
  }
  static double held_out_loss(const backend::ExecutionContext& ctx, train::LoraTask& task) {
    backend::ArenaScope scope(*ctx.arena);
    const auto loss = task.evaluate(train::Graph{ctx});
    return loss ? loss->mean() : 0;
  }
  train::TrainerOptions trainer_options(int64_t tokens, const std::filesystem::path& checkpoint,
                                        const std::string& recipe) const {
    const int64_t steps = training_steps(tokens, options_);
    return {.steps = steps,
            .accumulation = options_.accumulation,
            .lr = options_.lr,
            .lr_floor = options_.lr_floor,
            .seed = options_.lora.seed,
            .evaluate_every = std::max<int64_t>(1, steps / std::max(1, options_.evaluations)),
            .patience = options_.patience,
            .checkpoint = checkpoint,
            .save_every = steps,  // by time
            .save_seconds = 20,
            .recipe = recipe};
  }

  store::Corpus& corpus_;
  const model::LanguageModel& model_;
  const backend::ExecutionContext& ctx_;
  const TrainStageOptions& options_;
};

nlohmann::json info_of(const TrainOutcome& outcome, const TrainStageOptions& options) {
  nlohmann::json targets = nlohmann::json::array();
  for (const model::LoraTarget target : options.lora.targets) {
    targets.push_back(model::to_string(target));
  }
  return {{"group", options.group},
          {"rank", options.lora.rank},
          {"alpha", options.lora.alpha},
          {"targets", targets},
          {"seed", options.lora.seed},
          {"lr", options.lr},
          {"reader", options.reader_id},
          {"steps", outcome.result.steps},
          {"sequences", outcome.sequences},
          {"held_out_loss_before", outcome.first_held_out},
          {"held_out_loss", outcome.result.best_held_out.value_or(0)},
          {"loss", outcome.result.last_loss}};
}

}  // namespace

int64_t training_steps(int64_t tokens, const TrainStageOptions& options) {
  const double wanted = std::min(static_cast<double>(options.max_tokens),
                                 options.epochs * static_cast<double>(tokens));
  const double per_step = static_cast<double>(options.micro_batch_tokens) * options.accumulation;
  return std::max<int64_t>(1, std::llround(wanted / per_step));
}

TrainOutcome train_adapter(store::Corpus& corpus, const ExampleSplit& split,
                           const model::LanguageModel& model, const PromptMaker& prompt_of,
                           const backend::ExecutionContext& ctx, const TrainStageOptions& options) {
  const SequenceSet training = make_sequences(split.training, prompt_of, model);
  const SequenceSet held_out =
      make_sequences(spread(split.held_out, options.max_held_out), prompt_of, model);
  TrainOutcome outcome{.sequences = static_cast<int64_t>(training.sequences.size()),
                       .tokens = training.tokens,
                       .not_asked = training.not_asked,
                       .too_long = training.too_long};
  if (training.sequences.empty()) {
    return outcome;
  }
  const std::string recipe = recipe_of(training, held_out, model, options);
  const std::string stage = stage_of(options.group);
  if (const auto known = done_before(corpus, stage, recipe)) {
    outcome.adapter = *known;
    outcome.is_reused = true;
    return outcome;
  }
  corpus.jobs().plan(stage, {{kUnit, recipe}});
  const auto checkpoint = checkpoint_of(corpus, recipe);
  const model::LoraAdapter adapter =
      AdapterRun(corpus, model, ctx, options).run(training, held_out, checkpoint, recipe, outcome);
  OB_REQUIRE(outcome.result.end != train::TrainEnd::cancelled, Cancelled,
             "training was stopped after {} steps; the same command goes on from there",
             outcome.result.steps);
  OB_REQUIRE(outcome.result.end != train::TrainEnd::diverged || outcome.result.steps > 0, Corrupt,
             "the training loss is not finite at the first step; the model's weights are damaged");
  const auto documents = documents_of(corpus, split);
  store::Transaction transaction(corpus.db());
  outcome.adapter = store_adapter(corpus, adapter, documents, info_of(outcome, options));
  corpus.jobs().complete(stage, kUnit, outcome.adapter);
  transaction.commit();
  if (corpus.fs().stat(checkpoint)) {
    corpus.fs().remove(checkpoint);
  }
  return outcome;
}

}  // namespace offbook::learn
