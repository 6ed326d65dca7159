// What self-study, training and assessment will cost, from speeds measured on this machine.
#pragma once
#include <cstdint>
#include <optional>

#include "src/learn/assess.h"
#include "src/learn/fidelity.h"
#include "src/learn/self_study.h"
#include "src/learn/train_stage.h"

namespace offbook::learn {

// Of the language model, in tokens a second.
struct ModelRates {
  double prefill = 0;   // prompts
  double decode = 0;    // one sequence
  double training = 0;  // forward and backward, adapter included
};

// Runs a short prompt, a few decode steps and one training pass. Cost: a few seconds, and the base
// in bf16 for as long as it takes.
ModelRates measure_rates(const model::LanguageModel& model, model::Decoder& decoder,
                         const backend::ExecutionContext& ctx);

struct StageCost {
  double seconds = 0;
  uint64_t disk_bytes = 0;
  uint64_t memory_bytes = 0;  // beside the models that are open
};

// What there is to do.
struct StudyWork {
  int64_t passages = 0;  // of the generation, expected
  int64_t passage_tokens = 150;
  int64_t given_questions = 0;      // 0: self-study makes them
  int64_t prompt_tokens = 760;      // of one question as `ask` builds it
  double seconds_per_prompt = 0.1;  // retrieval and evidence
  int64_t documents = 1;
  bool has_contexts = false;  // their fidelity is measured
};

StageCost forecast_study(const StudyWork& work, const ModelRates& rates,
                         const SelfStudyOptions& options);
StageCost forecast_training(const StudyWork& work, const ModelRates& rates,
                            const model::ModelConfig& config, const SelfStudyOptions& study,
                            const TrainStageOptions& options);
StageCost forecast_assess(const StudyWork& work, const ModelRates& rates,
                          const SelfStudyOptions& study, const AssessOptions& options,
                          const FidelityOptions& fidelity);

// How much is studied, trained and judged at most.
struct TrainingLimits {
  int passages = 0;          // SelfStudyOptions::max_passages
  int64_t study_tokens = 0;  // … ::max_tokens
  int64_t train_tokens = 0;  // TrainStageOptions::max_tokens
  size_t questions = 0;      // AssessOptions::max_questions
  size_t answers = 0;        // FidelityOptions::max_answers

  bool operator==(const TrainingLimits&) const = default;
};

// All limits by one factor ≤ 1, the largest with which the three forecasts together stay within
// `seconds`; absent when not even the smallest useful run does (4 passages, one step, 10
// questions).
std::optional<TrainingLimits> fit_to_seconds(
    double seconds, const StudyWork& work, const ModelRates& rates,
    const model::ModelConfig& config, const SelfStudyOptions& study, const TrainStageOptions& train,
    const AssessOptions& assess, const FidelityOptions& fidelity);

}  // namespace offbook::learn
