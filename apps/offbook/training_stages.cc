#include "apps/offbook/training_stages.h"

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
        answerer_(retriever_, job.engines.model(), job.engines.decoder()),
        maker_(learn::ask_prompts(answerer_, {})) {}
  const learn::PromptMaker& maker() const { return maker_; }

 private:
  retrieve::Retriever retriever_;
  answer::Answerer answerer_;
  learn::PromptMaker maker_;
};

learn::ExampleSplit split_of(LearnJob& job) {
  return learn::split_examples(
      learn::usable_examples(job.corpus, job.generation, job.training.with_self_study),
      job.training.split);
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
  // A question's retrieval encodes its passages' sentences again: about eight passages.
  w.study.seconds_per_prompt = 8 * w.encode_seconds_per_passage;
  w.rates = learn::measure_rates(job.engines.model(), job.engines.decoder(),
                                 job.engines.device_context());
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
  return trains(w) ? as_forecast(w, learn::forecast_assess(w.study, w.rates, w.training->study,
                                                           w.training->assess))
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
  const Prompts prompts(job);
  const learn::TrainOutcome r =
      learn::train_adapter(job.corpus, split_of(job), job.engines.model(), prompts.maker(),
                           job.engines.device_context(), options);
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
    return;
  }
  Progress progress(job.shell, "assess", "answers");
  learn::AssessOptions options = job.training.assess;
  options.stop = job.shell.stop();
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
  };
  const Prompts prompts(job);
  const learn::AdapterVerdict v =
      learn::assess_adapter(job.corpus, job.generation, job.adapter, split_of(job).held_out,
                            prompts.maker(), job.engines.model(), job.engines.decoder(), options);
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

}  // namespace offbook::app
