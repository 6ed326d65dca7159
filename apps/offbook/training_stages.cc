#include "apps/offbook/training_stages.h"

#include "apps/offbook/slot_use.h"

#include "src/learn/adapter_files.h"
#include "src/learn/ask_prompts.h"
#include "src/learn/question_set.h"

namespace offbook::app {
namespace {

using nlohmann::json;

Forecast as_forecast(const Workload& w, const learn::StageCost& cost) {
  return {.seconds = cost.seconds,
          .disk_bytes = cost.disk_bytes,
          .memory_bytes = w.model_bytes + cost.memory_bytes};
}

bool trains(const Workload& w) {
  return w.training != nullptr && !w.training->is_off && w.rates.training > 0;
}

// What `ask` builds, on the generation that is being made.
class Prompts {
 public:
  explicit Prompts(LearnJob& job)
      : retriever_(job.corpus, job.generation, job.engines.encoder(),
                   job.engines.encoder_fingerprint(), job.engines.context()),
        answerer_(retriever_, job.engines.model(), job.engines.decoder()) {
    if (has_contexts(job)) {
      const OpenCompressor& open = *job.compressor.open;
      slots_.emplace(
          job.corpus, *open.compressor, open.base, writing_context(job.engines),
          answer::SlotSource::Config{
              .recipe = open.recipe(),
              .trusted = trusted_documents(job.corpus, job.generation, open.describe().id)});
    }
  }
  learn::PromptMaker maker(answer::SlotUse use) {
    answer::AskOptions options;
    options.slot_source = slots_ ? &*slots_ : nullptr;
    options.slots.use = use;
    return learn::ask_prompts(answerer_, options);
  }

  // What `ask` will give: slots where they are used then. Soft tokens, and slots that only their
  // own adapter reads, are never trained on.
  learn::PromptMaker training_maker(const LearnJob& job) {
    const bool is_trainable = has_contexts(job) &&
                              job.compressor.open->describe().kind != ContextKind::soft_tokens &&
                              job.compressor.open->compressor->reader_adapter() == nullptr;
    return maker(is_trainable ? answer::slot_use_named(job.training.slots)
                              : answer::SlotUse::never);
  }

  static bool has_contexts(const LearnJob& job) {
    return job.compressor.open && !job.compressor.open->describe().is_query_aware;
  }

 private:
  retrieve::Retriever retriever_;
  answer::Answerer answerer_;
  std::optional<answer::SlotSource> slots_;
};

learn::ExampleSplit split_of(LearnJob& job) {
  learn::SplitOptions options = job.training.split;
  if (Prompts::has_contexts(job)) {
    options.min_held_out_of_large = learn::kFewestFidelityQuestions;
  }
  return learn::split_examples(
      learn::usable_examples(job.corpus, job.generation, job.training.with_self_study), options);
}

void read_questions(LearnJob& job) {
  const auto given = learn::read_question_file(real_file_system(), job.training.questions);
  const auto examples =
      learn::match_documents(job.corpus, job.generation, job.training.questions, given);
  store::Transaction transaction(job.corpus.db());
  for (const Example& e : examples) {
    job.corpus.examples().put({.example = e});
  }
  transaction.commit();
  job.result["questions"] = {{"given", given.size()}, {"different", examples.size()}};
  job.shell.note("questions: {} from {}", examples.size(), job.training.questions.string());
}

void study(LearnJob& job) {
  Progress progress(job.shell, "study", "passages");
  learn::SelfStudyOptions options = job.training.study;
  options.stop = job.shell.stop();
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
  };
  const learn::SelfStudyResult r = learn::self_study(
      job.corpus, job.generation, job.engines.model(), job.engines.decoder(), options);
  job.result["study"] = {{"passages", r.passages},
                         {"passages_studied", r.passages_studied},
                         {"passages_covered", r.passages_covered},
                         {"documents", r.documents},
                         {"documents_covered", r.documents_covered},
                         {"tried", r.tried},
                         {"kept", r.kept},
                         {"rejected", r.rejected}};
  job.shell.note(
      "study: {} questions kept of {} tried, on {} of {} passages and {} of {} documents", r.kept,
      r.tried, r.passages_covered, r.passages, r.documents_covered, r.documents);
  for (const auto& [reason, n] : r.rejected) {
    job.shell.note("  {} rejected: {}", n, reason);
  }
}

learn::AssessOptions assess_options(LearnJob& job, Progress& progress) {
  learn::AssessOptions options = job.training.assess;
  options.stop = job.shell.stop();
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
  };
  return options;
}

void assess_adapter(LearnJob& job) {
  Progress progress(job.shell, "assess", "answers");
  Prompts prompts(job);
  const learn::AdapterVerdict v = learn::assess_adapter(
      job.corpus, job.generation, job.adapter, split_of(job).held_out, prompts.training_maker(job),
      job.engines.model(), job.engines.decoder(), assess_options(job, progress));
  const auto& difference = v.comparison.difference;
  job.result["assess"] = {{"is_accepted", v.is_accepted},
                          {"questions", v.questions},
                          {"documents", v.documents},
                          {"f1_before", v.comparison.before},
                          {"f1_after", v.comparison.after},
                          {"difference", difference.estimate},
                          {"low", difference.low},
                          {"high", difference.high},
                          {"note", v.note}};
  job.shell.note("assess: {}", v.note);
}

// With what answers in this generation, as `ask` would use it.
void assess_fidelity(LearnJob& job) {
  if (!Prompts::has_contexts(job)) {
    return;
  }
  const OpenCompressor& open = *job.compressor.open;
  const auto& base = job.engines.model().fingerprint();
  const auto id = learn::usable_adapter(job.corpus, job.generation, base);
  std::optional<model::LoraAdapter> adapter;
  if (id) {
    adapter = learn::load_adapter(job.corpus, *id, base);
  }
  const model::LoraAdapter* reader = open.compressor->reader_adapter();
  const std::string name = id.value_or("base");
  Progress progress(job.shell, "fidelity", "answers");
  Prompts prompts(job);
  const learn::FidelityResult r =
      learn::assess_fidelity(job.corpus, job.generation, open.describe().id, split_of(job).held_out,
                             {.raw = prompts.maker(answer::SlotUse::never),
                              .slots = prompts.maker(answer::SlotUse::only),
                              .with_raw = {"raw/" + name, adapter ? &*adapter : nullptr},
                              .with_slots = {"slots/" + name, reader != nullptr ? reader
                                                              : adapter         ? &*adapter
                                                                                : nullptr}},
                             job.engines.model(), job.engines.decoder(),
                             assess_options(job, progress), job.training.fidelity);
  job.result["fidelity"] = {{"documents", r.documents}, {"measured", r.measured},
                            {"too_few", r.too_few},     {"left_out", r.left_out},
                            {"use_slots", r.use_slots}, {"lowest", r.lowest},
                            {"highest", r.highest},     {"floor", job.training.fidelity.floor}};
  job.shell.note(
      "fidelity: {} of {} documents may be answered with slots too; {} were measured ({:.2f} to "
      "{:.2f} of the raw text's F1, floor {:.2f}), {} have too few questions, {} wait for time",
      r.use_slots, r.documents, r.measured, r.lowest, r.highest, job.training.fidelity.floor,
      r.too_few, r.left_out);
}

}  // namespace

void add_training_workload(LearnJob& job, Workload& w) {
  w.training = &job.training;
  if (job.training.is_off) {
    return;
  }
  w.model = &job.engines.model().config();
  w.study.passages = static_cast<int64_t>(w.passages);
  if (!job.training.questions.empty()) {
    w.study.given_questions = static_cast<int64_t>(
        learn::read_question_file(real_file_system(), job.training.questions).size());
  }
  w.study.documents =
      static_cast<int64_t>(job.plan.changes.added.size() + job.plan.changes.changed.size() +
                           job.plan.changes.unchanged.size());
  w.study.has_contexts = Prompts::has_contexts(job);
  // A question's retrieval encodes its passages' sentences again: about eight passages.
  w.study.seconds_per_prompt = 8 * w.encode_seconds_per_passage;
  w.rates = learn::measure_rates(job.engines.model(), job.engines.decoder(),
                                 job.engines.device_context());
}

json training_limits(const TrainingOptions& t) {
  return {{"minutes", t.minutes},
          {"passages", t.study.max_passages},
          {"study_tokens", t.study.max_tokens},
          {"train_tokens", t.train.max_tokens},
          {"questions", t.assess.max_questions},
          {"answers", t.fidelity.max_answers}};
}

void fit_training(LearnJob& job, const Workload& w, double seconds) {
  TrainingOptions& t = job.training;
  if (!trains(w) || t.minutes == 0) {
    return;
  }
  const auto use = [&](const learn::TrainingLimits& limits) {
    t.study.max_passages = limits.passages;
    t.study.max_tokens = limits.study_tokens;
    t.train.max_tokens = limits.train_tokens;
    t.assess.max_questions = limits.questions;
    t.fidelity.max_answers = limits.answers;
  };
  const auto building = job.corpus.generations().building();
  const json begun = building ? building->settings.value("training", json()) : json();
  if (begun.is_object() && begun.value("minutes", 0.0) == t.minutes) {
    use({.passages = begun.at("passages"),
         .study_tokens = begun.at("study_tokens"),
         .train_tokens = begun.at("train_tokens"),
         .questions = begun.at("questions"),
         .answers = begun.at("answers")});
    return;
  }
  const auto limits = learn::fit_to_seconds(seconds, w.study, w.rates, *w.model, t.study, t.train,
                                            t.assess, t.fidelity);
  if (!limits) {
    t.is_off = true;
    job.shell.note(
        "no time is left for training within --minutes {}; `offbook train` does it later",
        t.minutes);
    return;
  }
  use(*limits);
}

Forecast forecast_study_stage(const Workload& w) {
  return trains(w) ? as_forecast(w, learn::forecast_study(w.study, w.rates, w.training->study))
                   : Forecast{};
}

Forecast forecast_train_stage(const Workload& w) {
  return trains(w) ? as_forecast(w, learn::forecast_training(w.study, w.rates, *w.model,
                                                             w.training->study, w.training->train))
                   : Forecast{};
}

Forecast forecast_assess_stage(const Workload& w) {
  return trains(w)
             ? as_forecast(w, learn::forecast_assess(w.study, w.rates, w.training->study,
                                                     w.training->assess, w.training->fidelity))
             : Forecast{};
}

void run_study_stage(LearnJob& job) {
  if (job.training.is_off) {
    return;
  }
  if (!job.training.questions.empty()) {
    read_questions(job);
  }
  if (job.training.questions.empty() || job.training.with_self_study) {
    study(job);
  }
}

void run_train_stage(LearnJob& job) {
  if (job.training.is_off) {
    return;
  }
  Progress progress(job.shell, "train", "steps");
  learn::TrainStageOptions options = job.training.train;
  options.stop = job.shell.stop();
  options.on_progress = [&](const learn::TrainProgress& p) {
    progress.update(static_cast<double>(p.step), static_cast<double>(p.steps));
  };
  Prompts prompts(job);
  const learn::TrainOutcome r =
      learn::train_adapter(job.corpus, split_of(job), job.engines.model(),
                           prompts.training_maker(job), job.engines.device_context(), options);
  job.adapter = r.adapter;
  job.result["train"] = {{"adapter", r.adapter},
                         {"is_reused", r.is_reused},
                         {"steps", r.result.steps},
                         {"sequences", r.sequences},
                         {"tokens", r.tokens},
                         {"not_asked", r.not_asked},
                         {"too_long", r.too_long},
                         {"held_out_loss_before", r.first_held_out},
                         {"held_out_loss", r.result.best_held_out.value_or(0)}};
  if (r.adapter.empty()) {
    job.shell.note("train: no question to learn from; the base model answers");
  } else if (r.is_reused) {
    job.shell.note("train: adapter {} was trained on the same before", r.adapter.substr(0, 8));
  } else {
    job.shell.note(
        "train: adapter {} after {} steps on {} questions; held-out loss {:.3f} → {:.3f}",
        r.adapter.substr(0, 8), r.result.steps, r.sequences, r.first_held_out,
        r.result.best_held_out.value_or(0));
  }
}

void run_assess_stage(LearnJob& job) {
  if (job.training.is_off) {
    return;
  }
  if (job.adapter.empty()) {
    job.adapter =
        learn::usable_adapter(job.corpus, job.generation, job.engines.model().fingerprint())
            .value_or("");
    job.result["assess"] = {{"note", "no new adapter"}, {"adapter", job.adapter}};
  } else {
    assess_adapter(job);
  }
  assess_fidelity(job);
}

}  // namespace offbook::app
