// What `learn` does, stage by stage.
#pragma once
#include "apps/offbook/compressors.h"
#include "apps/offbook/engines.h"
#include "apps/offbook/prompt_form.h"

#include <span>
#include <string>

#include "src/learn/fidelity.h"
#include "src/learn/forecast.h"
#include "src/learn/grouping.h"
#include "src/learn/ingest_stage.h"
#include "src/retrieve/index_stage.h"

namespace offbook::app {

// TrainStageOptions::max_tokens where only the epochs bound a run.
inline constexpr int64_t kNoTokenLimit = int64_t{1} << 50;

// How a corpus is trained.
struct TrainingOptions {
  learn::SelfStudyOptions study;
  learn::TrainStageOptions train;
  learn::SplitOptions split;
  learn::AssessOptions assess;
  learn::FidelityOptions fidelity;
  std::filesystem::path questions;  // the user's own; empty: self-study
  bool with_self_study = false;     // beside the user's own
  std::string groups = "folder";    // learn::Grouping::parse
  size_t group_questions = learn::kFewestGroupExamples;
  PromptForm prompt;  // as `ask` will build it
  bool is_off = false;
  // Of the whole `learn`: what is left beside the other stages bounds the numbers above. 0: no
  // bound.
  double minutes = 12;
};

// The adapter of a group of documents ("": of all) that the stage train made; assess judges it.
struct TrainedAdapter {
  std::string group, id;
  double share = 1;  // of all that was trained
};

// One `learn` on its way through the stages.
struct LearnJob {
  const Shell& shell;
  Engines& engines;
  store::Corpus& corpus;
  int64_t generation = 0;
  learn::IngestOptions ingest;
  learn::IngestPlan plan;
  nlohmann::json result = nlohmann::json::object();  // what each stage did
  TrainingOptions training;
  learn::Grouping groups;
  std::vector<TrainedAdapter> adapters;
  CompressionOptions compression;
  CompressorChoice compressor;  // what `compression` came to
};

// What a stage will cost, before anything is written.
struct Forecast {
  double seconds = 0;
  uint64_t disk_bytes = 0;
  uint64_t memory_bytes = 0;  // of the whole process while it runs
};

// What forecasts are made from: sizes of what is to be done, and speeds measured just now.
struct Workload {
  uint64_t source_bytes = 0;  // to be read
  double text_bytes = 0;      // estimated
  double base_tokens = 0;
  double passages = 0;  // also those already stored that have no vectors
  double encode_seconds_per_passage = 0;
  double read_bytes_per_second = 0;
  uint64_t model_bytes = 0;  // of models, caches and arenas that all stages share
  learn::StudyWork study;
  learn::ModelRates rates;  // none measured: zero, and no training is forecast
  const model::ModelConfig* model = nullptr;
  const TrainingOptions* training = nullptr;
  const LearnJob* job = nullptr;
  double compress_tokens = 0;             // to be compressed
  double compress_tokens_per_second = 0;  // 0: nothing is compressed
  double choice_tokens = 0;               // read to choose ratios, where documents have their own
};

struct Stage {
  const char* name;
  const char* help;
  Forecast (*forecast)(const Workload& workload);
  // Does what is left to do of this stage in job.generation. Everything written is resumable.
  void (*run)(LearnJob& job);
};

// In the order of `learn`. A later stage is one line more here.
std::span<const Stage> stages();

Workload measure_workload(LearnJob& job);

}  // namespace offbook::app
