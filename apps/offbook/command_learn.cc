// learn, ingest, index, compress
#include "apps/offbook/commands.h"
#include "apps/offbook/presets.h"
#include "apps/offbook/stages.h"
#include "apps/offbook/training_stages.h"

#include <memory>
#include <string_view>

#include "src/store/check.h"

namespace offbook::app {
namespace {

using nlohmann::json;

struct LearnFlags {
  std::string corpus;
  std::filesystem::path folder;
  learn::IngestOptions ingest;
  TrainingOptions training;
  CompressionOptions compression;
  bool train = true;
  bool dry_run = false;
};

// A corpus of this name, made if there is none.
store::Corpus open_or_create(const Shell& shell, const std::string& name) {
  const store::Corpora corpora = shell.corpora();
  return store::Corpus::is_corpus(real_file_system(), corpora.path_of(name))
             ? corpora.open(name, store::Access::write)
             : corpora.create(name);
}

// The generation that is being built, else the one that answers, else 0.
int64_t newest_generation(store::Corpus& corpus) {
  const auto building = corpus.generations().building();
  const auto active = corpus.generations().active();
  return building ? building->number : active ? active->number : 0;
}

// As the generation remembers it; null without compression.
json compression_settings(const LearnJob& job) {
  if (!job.compressor.open) {
    return nullptr;
  }
  json settings = job.compressor.open->settings();
  settings["max_bytes"] = job.compression.stage.max_bytes;
  settings["kv_bits"] = job.compression.kv_bits;
  return settings;
}

// Compressed by another method, at another ratio or with other weights than asked for now.
bool is_compressed_otherwise(LearnJob& job) {
  const auto active = job.corpus.generations().active();
  const json was = active ? active->settings.value("compress", json()) : json();
  const json wanted = compression_settings(job);
  const auto differs = [&](const char* field) {
    return was.value(field, json()) != wanted.value(field, json());
  };
  return was.is_null() != wanted.is_null() ||
         (!was.is_null() &&
          (differs("method") || differs("weights") || differs("ratio") || differs("tolerance")));
}

json settings_of(LearnJob& job, bool is_training_asked_for) {
  json settings{{"model", job.engines.model().fingerprint().model},
                {"model_family", job.engines.model().fingerprint().family},
                {"model_name", job.shell.options.model},
                {"encoder", job.engines.encoder_fingerprint()},
                {"encoder_name", job.shell.options.encoder},
                {"passage_tokens", job.ingest.passages.size_tokens},
                {"overlap_tokens", job.ingest.passages.overlap_tokens}};
  settings["compress"] = compression_settings(job);
  settings["prompt"] = job.training.prompt.to_json();
  settings["groups"] = job.groups.to_json();
  settings["fidelity_floor"] = job.training.fidelity.floor;
  settings["is_trained"] = is_training_asked_for;  // or there was no time for it
  settings["training"] = training_limits(job.training);
  return settings;
}

// An adapter for each group of documents, and the groups are others now.
bool is_grouped_otherwise(LearnJob& job) {
  const auto active = job.corpus.generations().active();
  return !job.training.is_off && active && active->settings.value("is_trained", false) &&
         active->settings.value("groups", json()) != job.groups.to_json();
}

// Training was asked for, and the generation that answers has had none.
bool is_to_be_trained(LearnJob& job) {
  const auto active = job.corpus.generations().active();
  return !job.training.is_off && active && !active->settings.value("is_trained", false) &&
         !active->settings.value("is_training", false);
}

// `offbook check --repair` dropped damaged ones.
bool has_pending_contexts(LearnJob& job) {
  return job.compressor.open && job.corpus.jobs().counts(store::kStageCompress).pending > 0;
}

bool has_work(LearnJob& job) {
  const auto& changes = job.plan.changes;
  return !changes.added.empty() || !changes.changed.empty() ||
         (job.ingest.prune && !changes.removed.empty()) || job.generation == 0 ||
         job.corpus.generations().building().has_value() || is_compressed_otherwise(job) ||
         is_to_be_trained(job) || is_grouped_otherwise(job) || has_pending_contexts(job) ||
         !job.corpus.vectors().missing(job.generation, job.engines.encoder_fingerprint()).empty();
}

bool is_training(const Stage& stage) {
  const std::string_view name = stage.name;
  return name == "study" || name == "train" || name == "assess";
}

// Says what the stages will cost; Io when the disk is too small for it.
void forecast(LearnJob& job) {
  const Workload w = measure_workload(job);
  const auto& changes = job.plan.changes;
  job.shell.note(
      "files: {} new, {} changed, {} unchanged, {} gone ({} to read, about {:.0f} tokens)",
      changes.added.size(), changes.changed.size(), changes.unchanged.size(),
      changes.removed.size(), in_bytes(w.source_bytes), w.base_tokens);
  double before_training = 0;
  for (const Stage& stage : stages()) {
    before_training += is_training(stage) ? 0 : stage.forecast(w).seconds;
  }
  fit_training(job, w, 60 * job.training.minutes - before_training);
  double seconds = 0;
  uint64_t disk = 0, memory = 0;
  json per_stage = json::object();
  for (const Stage& stage : stages()) {
    const Forecast f = stage.forecast(w);
    seconds += f.seconds;
    disk += f.disk_bytes;
    memory = std::max(memory, f.memory_bytes);
    per_stage[stage.name] = {{"seconds", f.seconds}, {"disk_bytes", f.disk_bytes}};
    job.shell.note("{}: about {}, {} on disk", stage.name, in_time(f.seconds),
                   in_bytes(f.disk_bytes));
  }
  const uint64_t free = real_file_system().free_bytes(job.corpus.directory());
  job.shell.note(
      "together: about {}, {} on disk ({:.1f} times the files; {} are free), {} of memory",
      in_time(seconds), in_bytes(disk),
      w.source_bytes > 0 ? disk / static_cast<double>(w.source_bytes) : 0, in_bytes(free),
      in_bytes(memory));
  job.result["forecast"] = {{"stages", per_stage},
                            {"seconds", seconds},
                            {"disk_bytes", disk},
                            {"memory_bytes", memory},
                            {"source_bytes", w.source_bytes},
                            {"tokens", w.base_tokens}};
  OB_REQUIRE(disk < free, Io,
             "{} has {} free, learning this folder needs about {}; free some or name another place "
             "by --corpora",
             job.corpus.directory().string(), in_bytes(free), in_bytes(disk));
}

json plan_json(const learn::IngestPlan& plan) {
  return {{"added", plan.changes.added.size()},
          {"changed", plan.changes.changed.size()},
          {"unchanged", plan.changes.unchanged.size()},
          {"gone", plan.changes.removed.size()}};
}

// Every file may have been refused: an empty generation must not answer in place of a full one.
void require_documents(LearnJob& job) {
  OB_REQUIRE(!job.corpus.documents().list(job.generation).empty(), InvalidArgument,
             "no document of {} could be read; the lines above say why", job.plan.root.string());
}

void run_stages(LearnJob& job, std::string_view only) {
  try {
    for (const Stage& stage : stages()) {
      if (only.empty() || only == stage.name) {
        job.shell.log({{"event", "stage"}, {"stage", stage.name}, {"generation", job.generation}});
        stage.run(job);
        require_documents(job);
      }
    }
  } catch (Error& e) {
    if (e.code() == ErrorCode::Cancelled) {
      OB_THROW(Cancelled, "stopped; what was done is kept, the same command goes on from there");
    }
    throw;
  }
}

void finish(LearnJob& job, const std::string& name) {
  job.corpus.generations().activate(job.generation);
  job.result["generation"] = job.generation;
  job.shell.note("generation {} of {} answers now: offbook ask {} \"…\"", job.generation, name,
                 name);
}

void plan_files(LearnJob& job, const std::filesystem::path& folder) {
  job.ingest.tokenizers = job.engines.tokenizers();
  job.ingest.reading.threads = job.shell.options.threads;
  job.ingest.reading.stop = job.shell.stop();
  job.plan = learn::plan_ingest(job.corpus, job.generation, folder, job.ingest);
}

// The forecast of a corpus that does not exist must not make it.
void check_folder(const std::filesystem::path& folder, const learn::IngestOptions& options) {
  const auto listing = ingest::list_folder(folder, options.folder);
  OB_REQUIRE(!listing.files.empty(), InvalidArgument,
             "{} holds no file that can be read (txt, md, html, pdf, docx, epub, csv, jsonl)",
             folder.string());
}

void run_learn(Shell& shell, LearnFlags& flags, std::string_view only) {
  check_folder(flags.folder, flags.ingest);
  flags.training.is_off = !flags.train || !only.empty();
  Engines engines(shell);
  engines.counter();  // models that are not there stop this before a corpus is made
  const bool is_new =
      !store::Corpus::is_corpus(real_file_system(), shell.corpora().path_of(flags.corpus));
  store::Corpus corpus = open_or_create(shell, flags.corpus);
  LearnJob job{.shell = shell,
               .engines = engines,
               .corpus = corpus,
               .generation = newest_generation(corpus),
               .ingest = flags.ingest,
               .training = flags.training};
  job.groups = learn::Grouping::parse(real_file_system(), flags.training.groups);
  job.compression = flags.compression;
  job.compression.is_off = job.compression.is_off || !only.empty();
  job.compressor = open_compressor(shell, engines, job.compression);
  plan_files(job, flags.folder);
  job.result = {{"corpus", flags.corpus}, {"files", plan_json(job.plan)}};
  if (!has_work(job)) {
    shell.note("nothing to do: generation {} has all {} files as they are{}", job.generation,
               job.plan.changes.unchanged.size(),
               job.plan.refused.empty()
                   ? ""
                   : fmt::format("; {} others could not be read before (offbook status {})",
                                 job.plan.refused.size(), flags.corpus));
    shell.say_json(job.result);
    return;
  }
  forecast(job);
  if (flags.dry_run) {
    if (is_new) {
      const auto directory = corpus.directory();
      { store::Corpus closed = std::move(corpus); }
      store::remove_tree(real_file_system(), directory);
    }
    shell.say_json(job.result);
    return;
  }
  corpus.set_setting("source.folder", std::filesystem::absolute(flags.folder).string());
  job.generation = corpus.generations().begin(settings_of(job, !flags.training.is_off));
  run_stages(job, only);
  if (only.empty()) {
    finish(job, flags.corpus);
  }
  shell.say_json(job.result);
  shell.log({{"event", only.empty() ? "learn" : only},
             {"corpus", flags.corpus},
             {"generation", job.generation}});
}

// A job on what a corpus holds already, its folder left alone.
LearnJob job_within(const Shell& shell, Engines& engines, store::Corpus& corpus,
                    const std::string& name) {
  LearnJob job{.shell = shell,
               .engines = engines,
               .corpus = corpus,
               .generation = newest_generation(corpus)};
  OB_REQUIRE(job.generation != 0, InvalidArgument,
             "{} holds no documents yet; run `offbook learn FOLDER --into {}`", name, name);
  job.result["corpus"] = name;
  return job;
}

void run_index(Shell& shell, const std::string& name) {
  Engines engines(shell);
  store::Corpus corpus = shell.corpora().open(name, store::Access::write);
  LearnJob job = job_within(shell, engines, corpus, name);
  run_stages(job, "index");
  if (corpus.generations().building()) {
    finish(job, name);
  }
  shell.say_json(job.result);
}

// The documents that answer now, compressed as asked, in a generation of their own.
void run_compress(Shell& shell, const std::string& name, const CompressionOptions& options) {
  Engines engines(shell);
  store::Corpus corpus = shell.corpora().open(name, store::Access::write);
  LearnJob job = job_within(shell, engines, corpus, name);
  job.compression = options;
  job.compressor = open_compressor(shell, engines, options);
  OB_REQUIRE(job.compressor.open, NotFound, "{}", job.compressor.why_none);
  json settings = corpus.generations().building() ? corpus.generations().building()->settings
                                                  : corpus.generations().active()->settings;
  settings["compress"] = compression_settings(job);
  job.generation = corpus.generations().begin(settings);
  run_stages(job, "compress");
  finish(job, name);
  shell.say_json(job.result);
}

void add_folder_options(CLI::App* command, LearnFlags& f) {
  auto& in = f.ingest;
  command->add_option("folder", f.folder, "folder of documents, or one file")->required();
  command->add_option("--into", f.corpus, "name of the corpus")->required();
  command->add_option("--passage-tokens", in.passages.size_tokens, "longest passage, in tokens")
      ->check(CLI::Range(16, 1536))
      ->capture_default_str();
  command->add_option("--overlap-tokens", in.passages.overlap_tokens, "repeated between passages")
      ->check(CLI::Range(0, 767))
      ->capture_default_str();
  command->add_option("--ignore", in.folder.ignore, "pattern of paths to leave out (repeatable)");
  command->add_flag("--hidden", in.folder.include_hidden, "files whose name begins with . too");
  command->add_flag("--prune", in.prune, "documents whose file is gone leave the corpus");
  command->add_option("--max-file-bytes", in.reading.read.limits.max_file_bytes)
      ->capture_default_str();
  command->add_option("--jsonl-text", in.reading.read.jsonl_text_fields, "fields that hold text");
  command->add_flag("--dry-run", f.dry_run, "say what it would cost, and stop");
}

}  // namespace

void add_learn(CLI::App& app, Shell& shell) {
  auto learn = std::make_shared<LearnFlags>();
  CLI::App* command = add_command(app, shell, "learn", "learns a folder of documents, all stages",
                                  "  offbook learn ./docs --into handbook\n"
                                  "  offbook learn ./docs --into handbook --no-train\n"
                                  "  offbook learn ./docs --into handbook --questions faq.csv\n"
                                  "  offbook learn ./docs --into handbook --questions faq.csv "
                                  "--preset best\n"
                                  "  offbook learn ./docs --into handbook --prune --dry-run",
                                  [&shell, learn] { run_learn(shell, *learn, ""); });
  add_folder_options(command, *learn);
  add_preset_option(command, learn->training, &learn->compression);
  add_training_options(command, learn->training);
  add_assess_options(command, learn->training);
  command
      ->add_option("--groups", learn->training.groups,
                   "which documents share an adapter: folder (each folder within FOLDER), none, or "
                   "a .csv with the columns file (a path or pattern) and group; a question's group "
                   "is what most of the passages found for it are of")
      ->capture_default_str();
  add_compression_options(command, learn->compression);
  command->add_flag("--train,!--no-train", learn->train,
                    "study, train and assess too (the default), or not");
  command
      ->add_option("--minutes", learn->training.minutes,
                   "time of all stages: the numbers of passages studied, tokens trained and "
                   "questions judged are lowered to fit; 0: they are not")
      ->check(CLI::Range(0.0, 100'000.0))
      ->capture_default_str();
  auto ingest = std::make_shared<LearnFlags>();
  add_folder_options(
      add_command(app, shell, "ingest", stages()[0].help, "  offbook ingest ./docs --into handbook",
                  [&shell, ingest] { run_learn(shell, *ingest, "ingest"); }),
      *ingest);
  auto name = std::make_shared<std::string>();
  add_command(app, shell, "index", std::string(stages()[1].help) + ", and lets them answer",
              "  offbook index handbook", [&shell, name] { run_index(shell, *name); })
      ->add_option("corpus", *name, "name of the corpus")
      ->required();

  auto compress = std::make_shared<std::pair<std::string, CompressionOptions>>();
  command =
      add_command(app, shell, "compress", "makes the compressed form of a corpus's documents",
                  "  offbook compress handbook --method beacon --ratio 8\n"
                  "  offbook compress handbook --compressor beacon.safetensors",
                  [&shell, compress] { run_compress(shell, compress->first, compress->second); });
  command->add_option("corpus", compress->first, "name of the corpus")->required();
  add_compression_options(command, compress->second);
}

}  // namespace offbook::app
