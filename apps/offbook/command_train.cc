// train, assess
#include "apps/offbook/commands.h"
#include "apps/offbook/presets.h"
#include "apps/offbook/training_stages.h"

#include <memory>

#include "src/learn/adapter_files.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct TrainFlags {
  std::string corpus;
  TrainingOptions training;
};

// A generation with the documents that answer now; `learn` that was stopped has to go first.
int64_t begin_generation(store::Corpus& corpus, const std::string& name, double fidelity_floor,
                         const PromptForm& prompt) {
  corpus.generations().require_active();
  if (const auto building = corpus.generations().building()) {
    OB_REQUIRE(building->settings.contains("is_training"), InvalidArgument,
               "generation {} of {} is not finished; run the same `offbook learn` again first",
               building->number, name);
  }
  json settings = corpus.generations().active()->settings;
  settings["is_training"] = true;
  settings["prompt"] = prompt.to_json();
  settings["fidelity_floor"] = fidelity_floor;
  return corpus.generations().begin(settings);
}

// Groups and compressor of the generation, for the prompts and the documents' fidelity; the
// prompts' form too where it is not asked for anew.
void use_settings(LearnJob& job, int64_t generation, bool is_as_learned) {
  for (const store::Generation& g : job.corpus.generations().list()) {
    if (g.number == generation) {
      if (is_as_learned) {
        job.training.prompt = PromptForm::from_json(g.settings.value("prompt", json()));
      }
      job.groups = learn::Grouping::from_json(g.settings.value("groups", json()));
      job.compressor = compressor_of(job.shell, job.engines, g.settings, {});
    }
  }
  if (!job.compressor.why_none.empty()) {
    job.shell.note("{}", job.compressor.why_none);
  }
}

// Why no new adapter answers.
std::string reasons(const json& assess) {
  std::vector<std::string> notes;
  const json groups = assess.value("groups", json::object());
  for (const auto& [group, verdict] : groups.items()) {
    notes.push_back(fmt::format("group {}: {}", group, verdict.value("note", "")));
  }
  if (assess.contains("note") || notes.empty()) {
    notes.insert(notes.begin(), assess.value("note", "no adapter was trained"));
  }
  return fmt::format("{}", fmt::join(notes, "; "));
}

void run_train(Shell& shell, const TrainFlags& flags) {
  Engines engines(shell);
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::write);
  const int64_t active = corpus.generations().require_active();
  LearnJob job{
      shell,
      engines,
      corpus,
      begin_generation(corpus, flags.corpus, flags.training.fidelity.floor, flags.training.prompt),
      {},
      {},
      {},
      flags.training};
  job.result = {{"corpus", flags.corpus}};
  use_settings(job, active, false);
  run_study_stage(job);
  run_train_stage(job);
  run_assess_stage(job);
  const bool is_accepted = job.result["assess"].value("is_any_accepted", false);
  if (is_accepted) {
    corpus.generations().activate(job.generation);
    shell.note("generation {} of {} answers now", job.generation, flags.corpus);
  } else {
    const std::string note = reasons(job.result["assess"]);
    corpus.generations().mark_failed(job.generation, note);
    shell.note("generation {} goes on answering: {}", active, note);
  }
  job.result["generation"] = is_accepted ? job.generation : active;
  shell.say_json(job.result);
  shell.log({{"event", "train"},
             {"corpus", flags.corpus},
             {"generation", job.generation},
             {"is_accepted", is_accepted}});
}

// The adapter that answers now against the base model, once more.
void run_assess(Shell& shell, const TrainFlags& flags) {
  Engines engines(shell);
  store::Corpus corpus = shell.corpora().open(flags.corpus, store::Access::write);
  LearnJob job{shell, engines, corpus, corpus.generations().require_active(),
               {},    {},      {},     flags.training};
  use_settings(job, job.generation, true);
  const Fingerprint& base = engines.model().fingerprint();
  if (const auto adapter = learn::usable_adapter(corpus, job.generation, base)) {
    job.adapters.push_back({"", *adapter});
  }
  for (const auto& [group, id] : learn::usable_group_adapters(corpus, job.generation, base)) {
    job.adapters.push_back({group, id});
  }
  OB_REQUIRE(!job.adapters.empty() || job.compressor.open, NotFound,
             "{} answers without an adapter and without compressed documents, so there is nothing "
             "to assess; `offbook train {}` and `offbook compress {}` make them",
             flags.corpus, flags.corpus, flags.corpus);
  job.training.assess.is_against_base = true;
  run_assess_stage(job);
  shell.say("{}", reasons(job.result["assess"]));
  shell.say_json(job.result);
}

void add_corpus(CLI::App* command, TrainFlags& flags) {
  command->add_option("corpus", flags.corpus, "name of the corpus")->required();
}

}  // namespace

void add_training_options(CLI::App* command, TrainingOptions& t) {
  command->add_option("--questions", t.questions, "your questions with answers: jsonl or csv");
  command
      ->add_option("--group-questions", t.group_questions,
                   "fewest questions from which a group of documents gets an adapter of its own")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_flag("--self-study", t.with_self_study, "self-study beside your questions");
  command
      ->add_option("--slots", t.prompt.slots,
                   "compressed documents in the prompts, here and of `ask` afterwards: auto, "
                   "always, never, only (in place of passages)")
      ->check(CLI::IsMember({"auto", "always", "never", "only"}))
      ->capture_default_str();
  command->add_option("--study-passages", t.study.max_passages, "most passages self-study looks at")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--study-tokens", t.study.max_tokens, "most tokens self-study reads")
      ->capture_default_str();
  command->add_option("--train-tokens", t.train.max_tokens, "most tokens of all steps together")
      ->capture_default_str();
  command->add_option("--epochs", t.train.epochs)
      ->check(CLI::Range(0.1, 100.0))
      ->capture_default_str();
  command->add_option("--rate", t.train.lr, "learning rate")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  command->add_option("--rank", t.train.lora.rank, "of the adapter")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--alpha", t.train.lora.alpha, "of the adapter")->capture_default_str();
  command->add_option("--train-seed", t.train.lora.seed)->capture_default_str();
}

void add_assess_options(CLI::App* command, TrainingOptions& t) {
  command->add_option("--held-out", t.split.held_out_share, "share of questions kept for judging")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  command
      ->add_option("--fidelity-floor", t.fidelity.floor,
                   "slots are used from this lower bound of F1, as a share of the raw text's")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  command
      ->add_option("--fidelity-answers", t.fidelity.max_answers,
                   "most answers that documents' fidelity is measured by")
      ->capture_default_str();
  command->add_option("--assess-questions", t.assess.max_questions, "most questions judged on")
      ->capture_default_str();
}

void add_train(CLI::App& app, Shell& shell) {
  auto train = std::make_shared<TrainFlags>();
  CLI::App* command =
      add_command(app, shell, "train", "trains an adapter for a corpus, and judges it",
                  "  offbook train handbook\n"
                  "  offbook train handbook --questions faq.csv --epochs 5",
                  [&shell, train] { run_train(shell, *train); });
  add_corpus(command, *train);
  add_preset_option(command, train->training, nullptr);
  add_training_options(command, train->training);
  add_assess_options(command, train->training);

  auto assess = std::make_shared<TrainFlags>();
  command = add_command(app, shell, "assess", "judges the adapter of a corpus again",
                        "  offbook assess handbook --assess-questions 200",
                        [&shell, assess] { run_assess(shell, *assess); });
  add_corpus(command, *assess);
  add_assess_options(command, assess->training);
}

}  // namespace offbook::app
