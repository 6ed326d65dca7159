// The part of train-compressor that runs on shards.
#pragma once
#include "apps/offbook/shell.h"

#include <filesystem>

#include <CLI/CLI.hpp>

#include "src/compress/train_icae_job.h"
#include "src/compress/train_mixed_job.h"

namespace offbook::app {

struct MixedTraining {
  compress::MixedJobOptions job;
  std::filesystem::path mix;    // file; empty: the defaults
  std::filesystem::path curve;  // JSON Lines, one a report; empty: none
  int64_t report_every = 20;    // steps
  compress::IcaeJobOptions icae;
};

void add_mixed_options(CLI::App& command, MixedTraining& options);
// `options.job` holds what the plain form shares with it.
void run_mixed_training(Shell& shell, MixedTraining options);
void run_icae_training(Shell& shell, MixedTraining options);

}  // namespace offbook::app
