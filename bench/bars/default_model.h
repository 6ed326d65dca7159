// The default model on the device of OFFBOOK_DEVICE (default: the CPU), for bars.
#pragma once
#include "bench/bars/bar.h"

#include "src/backend/compute_device.h"
#include "src/model/language_model.h"

namespace offbook::bars {

inline std::filesystem::path default_model_path() {
  return model_directory() / "smollm2-135m-instruct";
}

// Passes one after another, in the device's own arena.
class DefaultModel {
 public:
  DefaultModel()
      : device_({.name = directory_from("OFFBOOK_DEVICE", "cpu").string()}),
        model_(real_file_system(), default_model_path(), context(), {}) {}

  bool is_gpu() const { return device_.is_gpu(); }
  backend::ExecutionContext context() { return device_.context(backend::Compute::bf16); }
  const model::LanguageModel& get() const { return model_; }

 private:
  backend::ComputeDevice device_;
  model::LanguageModel model_;
};

}  // namespace offbook::bars
