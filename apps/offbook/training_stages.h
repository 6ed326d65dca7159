// The stages of `learn` that train: study, train, assess.
#pragma once
#include "apps/offbook/stages.h"

#include <CLI/CLI.hpp>

namespace offbook::app {

// Speeds of the model, measured now, and what there is to learn from.
void add_training_workload(LearnJob& job, Workload& workload);

// Lowers the numbers of job.training to what `seconds` hold, or turns training off with a note. A
// generation that is being built keeps the numbers it began with, so that a stopped run goes on
// with the same work on a machine that is busier now.
void fit_training(LearnJob& job, const Workload& workload, double seconds);
// As a generation remembers them.
nlohmann::json training_limits(const TrainingOptions& training);

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
