// The stages of `learn` that train: study, train, assess.
#pragma once
#include "apps/offbook/stages.h"

#include <CLI/CLI.hpp>

namespace offbook::app {

// Speeds of the model, measured now, and what there is to learn from.
void add_training_workload(LearnJob& job, Workload& workload);

Forecast forecast_study_stage(const Workload& workload);
Forecast forecast_train_stage(const Workload& workload);
Forecast forecast_assess_stage(const Workload& workload);

// The flags of TrainingOptions, for `learn`, `train` and `assess`.
void add_training_options(CLI::App* command, TrainingOptions& training);
void add_assess_options(CLI::App* command, TrainingOptions& training);

// Do nothing when job.training.is_off.
void run_study_stage(LearnJob& job);
void run_train_stage(LearnJob& job);
void run_assess_stage(LearnJob& job);

}  // namespace offbook::app
