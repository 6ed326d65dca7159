// A training run's state on disk: docs/formats/checkpoint.md.
#pragma once
#include <optional>

#include "src/train/trainer.h"

namespace offbook::train {

// Position of a run; with the parameters' values and moments it is all there is to know.
struct RunState {
  int64_t step = 0;
  double last_loss = 0;
  std::optional<double> best_held_out;
  int32_t evaluations_without_gain = 0;
  std::string recipe;
};

// One safetensors file: value, m and v of every parameter ("NAME.value" …), "NAME.best" where best is not
// empty, and the state in the metadata. Written atomically.
void save_checkpoint(const backend::ExecutionContext& ctx, FileSystem& fs, const std::filesystem::path& path,
                     const RunState& state, const std::vector<Parameter>& parameters, const std::vector<Tensor>& best);

// Fills the parameters and `best`; nullopt when there is no such file. Corrupt when names, shapes or
// fields do not fit, InvalidArgument when it belongs to another recipe.
std::optional<RunState> load_checkpoint(const backend::ExecutionContext& ctx, FileSystem& fs,
                                        const std::filesystem::path& path, const std::string& recipe,
                                        std::vector<Parameter>& parameters, std::vector<Tensor>& best);

}  // namespace offbook::train
