#include "apps/offbook/training_stages.h"

#include "apps/offbook/slot_use.h"

#include <set>

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
      : form_(job.training.prompt),
        retriever_(job.corpus, job.generation, job.engines.encoder(),
                   job.engines.encoder_fingerprint(), job.engines.context()),
        answerer_(retriever_, job.engines.model(), job.engines.decoder()) {
    if (has_contexts(job)) {
      const OpenCompressor& open = *job.compressor.open;
      slots_.emplace(
          job.corpus, *open.compressor, open.base, writing_context(job.engines),
          answer::SlotSource::Config{
              .recipe = open.recipe(),
              .ratios = ratios_of_documents(job.corpus, job.generation, open),
              .trusted = trusted_documents(job.corpus, job.generation, open.describe().id)});
    }
  }
  learn::PromptMaker maker(answer::SlotUse use) {
    answer::AskOptions options;
    form_.apply(options);
    options.slot_source = slots_ ? &*slots_ : nullptr;
    options.slots.use = use;
    return learn::ask_prompts(answerer_, options);
  }

  // What `ask` will give: slots where they are used then. Those that only their own adapter reads
  // are trained on where every prompt has some.
  learn::PromptMaker training_maker(const LearnJob& job) {
    const bool is_trainable =
        has_contexts(job) &&
        (job.compressor.open->compressor->reader_adapter() == nullptr || is_always(job));
    return maker(is_trainable ? answer::slot_use_named(form_.slots) : answer::SlotUse::never);
  }

  // Under which adapters are trained; null: the base alone.
  static const model::LoraAdapter* reader_of(const LearnJob& job) {
    return has_contexts(job) && is_always(job) ? job.compressor.open->compressor->reader_adapter()
                                               : nullptr;
  }

  static bool is_always(const LearnJob& job) {
    const answer::SlotUse use = answer::slot_use_named(job.training.prompt.slots);
    return use == answer::SlotUse::always || use == answer::SlotUse::only;
  }
  static bool has_contexts(const LearnJob& job) {
    return job.compressor.open && !job.compressor.open->describe().is_query_aware;
  }

 private:
  PromptForm form_;
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

// Groups' names with their documents' examples, as they are trained.
std::vector<learn::GroupedExamples> grouped_examples(LearnJob& job) {
  return learn::split_by_group(split_of(job),
                               learn::groups_of_documents(job.corpus, job.generation, job.groups),
                               job.training.group_questions);
}

std::string of_group(const std::string& group) {
  return group.empty() ? "" : fmt::format(" of group {}", group);
}

// Of the combined adapter, or of one group.
json& result_of(LearnJob& job, const char* stage, const std::string& group) {
  return group.empty() ? job.result[stage] : job.result[stage]["groups"][group];
}

void assess_adapter(LearnJob& job, const learn::GroupedExamples& examples,
                    const TrainedAdapter& adapter) {
  constexpr size_t kFewestQuestions = 10;
  Progress progress(job.shell, "assess", "answers");
  Prompts prompts(job);
  learn::AssessOptions options = assess_options(job, progress);
  options.group = adapter.group;
  options.reader = Prompts::reader_of(job);
  options.max_questions =
      std::max(std::min(options.max_questions, kFewestQuestions),
               static_cast<size_t>(adapter.share * static_cast<double>(options.max_questions)));
  const learn::AdapterVerdict v = learn::assess_adapter(
      job.corpus, job.generation, adapter.id, examples.split.held_out, prompts.training_maker(job),
      job.engines.model(), job.engines.decoder(), options);
  const auto& difference = v.comparison.difference;
  json& out = result_of(job, "assess", adapter.group);
  out.update({{"is_accepted", v.is_accepted},
              {"questions", v.questions},
              {"documents", v.documents},
              {"f1_before", v.comparison.before},
              {"f1_after", v.comparison.after},
              {"difference", difference.estimate},
              {"low", difference.low},
              {"high", difference.high},
              {"note", v.note}});
  job.result["assess"]["is_any_accepted"] =
      v.is_accepted || job.result["assess"].value("is_any_accepted", false);
  job.shell.note("assess{}: {}", of_group(adapter.group), v.note);
}

// Which adapter answers for a group of documents: its own, else the generation's; "" for the base.
class AnsweringAdapters {
 public:
  explicit AnsweringAdapters(LearnJob& job)
      : job_(job),
        groups_(learn::groups_of_documents(job.corpus, job.generation, job.groups)),
        all_(learn::usable_adapter(job.corpus, job.generation, base()).value_or("")),
        of_groups_(learn::usable_group_adapters(job.corpus, job.generation, base())) {}

  const std::string& id_for(const std::string& document_id) const {
    const auto group = groups_.find(document_id);
    const auto own = group == groups_.end() ? of_groups_.end() : of_groups_.find(group->second);
    return own == of_groups_.end() ? all_ : own->second;
  }
  // Holds the reader of a compressor with these weights.
  bool reads(const std::string& id, const std::string& weights_hash) const {
    const auto record = job_.corpus.adapters().find(id);
    return record && record->info.value("reader", "") == weights_hash;
  }
  // All that answer for some document.
  std::set<std::string> ids() const {
    std::set<std::string> out;
    for (const auto& [document, group] : groups_) {
      out.insert(id_for(document));
    }
    return out;
  }
  std::optional<model::LoraAdapter> load(const std::string& id) const {
    return id.empty() ? std::nullopt : std::optional(learn::load_adapter(job_.corpus, id, base()));
  }

 private:
  const Fingerprint& base() const { return job_.engines.model().fingerprint(); }

  LearnJob& job_;
  std::map<std::string, std::string> groups_;
  std::string all_;
  std::map<std::string, std::string> of_groups_;
};

void add(learn::FidelityResult& to, const learn::FidelityResult& from) {
  if (from.measured > 0) {
    to.lowest = to.measured > 0 ? std::min(to.lowest, from.lowest) : from.lowest;
    to.highest = std::max(to.highest, from.highest);
  }
  to.documents += from.documents;
  to.measured += from.measured;
  to.too_few += from.too_few;
  to.left_out += from.left_out;
  to.use_slots += from.use_slots;
}

// With what answers in this generation, as `ask` would use it.
void assess_fidelity(LearnJob& job) {
  if (!Prompts::has_contexts(job)) {
    return;
  }
  const OpenCompressor& open = *job.compressor.open;
  const model::LoraAdapter* reader = open.compressor->reader_adapter();
  const AnsweringAdapters adapters(job);
  Progress progress(job.shell, "fidelity", "answers");
  Prompts prompts(job);
  learn::FidelityResult r;
  for (const std::string& id : adapters.ids()) {
    const std::optional<model::LoraAdapter> adapter = adapters.load(id);
    const model::LoraAdapter* own = adapter ? &*adapter : nullptr;
    const std::string name = id.empty() ? "base" : id;
    const bool is_own = adapters.reads(id, open.describe().weights_hash);
    learn::FidelityOptions options = job.training.fidelity;
    options.includes = [&](const std::string& document) { return adapters.id_for(document) == id; };
    add(r, learn::assess_fidelity(
               job.corpus, job.generation, open.describe().id, split_of(job).held_out,
               {.raw = prompts.maker(answer::SlotUse::never),
                .slots = prompts.maker(answer::SlotUse::only),
                .with_raw = {"raw/" + name, own},
                .with_slots = {"slots/" + name, is_own || reader == nullptr ? own : reader}},
               job.engines.model(), job.engines.decoder(), assess_options(job, progress), options));
  }
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

// Adapters of groups that no document is in any more, of another --groups.
void forget_other_groups(LearnJob& job) {
  std::set<std::string> there;
  for (const auto& [document, group] :
       learn::groups_of_documents(job.corpus, job.generation, job.groups)) {
    there.insert(group);
  }
  for (const store::GroupAdapter& g : job.corpus.generations().group_adapters(job.generation)) {
    if (!there.contains(g.group)) {
      job.corpus.generations().set_group_adapter(job.generation, g.group, "", "");
    }
  }
}

void train_one(LearnJob& job, Prompts& prompts, const learn::GroupedExamples& examples) {
  Progress progress(job.shell, "train", "steps");
  learn::TrainStageOptions options = job.training.train;
  options.group = examples.group;
  if (const model::LoraAdapter* reader = Prompts::reader_of(job)) {
    options.reader = reader;
    options.reader_id = job.compressor.open->describe().weights_hash;
  }
  options.max_tokens =
      static_cast<int64_t>(examples.share * static_cast<double>(options.max_tokens));
  options.stop = job.shell.stop();
  options.on_progress = [&](const learn::TrainProgress& p) {
    progress.update(static_cast<double>(p.step), static_cast<double>(p.steps));
  };
  const learn::TrainOutcome r =
      learn::train_adapter(job.corpus, examples.split, job.engines.model(),
                           prompts.training_maker(job), job.engines.device_context(), options);
  result_of(job, "train", examples.group)
      .update({{"adapter", r.adapter},
               {"is_reused", r.is_reused},
               {"steps", r.result.steps},
               {"sequences", r.sequences},
               {"tokens", r.tokens},
               {"not_asked", r.not_asked},
               {"too_long", r.too_long},
               {"held_out_loss_before", r.first_held_out},
               {"held_out_loss", r.result.best_held_out.value_or(0)}});
  const std::string of = of_group(examples.group);
  if (r.adapter.empty()) {
    job.shell.note("train: no question to learn from; the base model answers");
    return;
  }
  job.adapters.push_back({examples.group, r.adapter, examples.share});
  if (r.is_reused) {
    job.shell.note("train: adapter {}{} was trained on the same before", r.adapter.substr(0, 8),
                   of);
  } else {
    job.shell.note(
        "train: adapter {}{} after {} steps on {} questions; held-out loss {:.3f} → {:.3f}",
        r.adapter.substr(0, 8), of, r.result.steps, r.sequences, r.first_held_out,
        r.result.best_held_out.value_or(0));
  }
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
  forget_other_groups(job);
  Prompts prompts(job);
  for (const learn::GroupedExamples& examples : grouped_examples(job)) {
    train_one(job, prompts, examples);
  }
}

void run_assess_stage(LearnJob& job) {
  if (job.training.is_off) {
    return;
  }
  if (job.adapters.empty()) {
    job.result["assess"] = {{"note", "no new adapter"},
                            {"adapter", learn::usable_adapter(job.corpus, job.generation,
                                                              job.engines.model().fingerprint())
                                            .value_or("")}};
  }
  for (const learn::GroupedExamples& examples : grouped_examples(job)) {
    for (const TrainedAdapter& adapter : job.adapters) {
      if (adapter.group == examples.group) {
        assess_adapter(job, examples, adapter);
      }
    }
  }
  assess_fidelity(job);
}

}  // namespace offbook::app
