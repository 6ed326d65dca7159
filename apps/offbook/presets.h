// Named settings of `learn` and `train`.
#pragma once
#include "apps/offbook/stages.h"

#include <CLI/CLI.hpp>

namespace offbook::app {

// Adds --preset to a command: what it sets is in place before the other flags are read, so that
// these still change it. `compression` may be null (`train`: the corpus is compressed already).
void add_preset_option(CLI::App* command, TrainingOptions& training,
                       CompressionOptions* compression);

}  // namespace offbook::app
