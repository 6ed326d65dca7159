// A GPU and the CPU side by side, and a tiny model of the golden fixtures on both.
#pragma once
#include <memory>

#include <gtest/gtest.h>

#include "src/backend/testing_devices.h"
#include "src/backend/transfer.h"
#include "src/model/adapter_device.h"
#include "src/model/import/weights.h"
#include "src/model/llama.h"

namespace offbook::gpu_tests {

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!backend::has_gpu()) {
      GTEST_SKIP() << "there is no GPU";
    }
    gpu_ = std::make_unique<backend::ComputeDevice>(
        backend::DeviceOptions{.name = "cuda", .threads = 2});
  }

  backend::ComputeDevice cpu_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<backend::ComputeDevice> gpu_;
  model::ModelFiles files_ = model::open_model(real_file_system(), "tests/golden/model/llama3");

  model::Llama model_on(const backend::ExecutionContext& ctx) const {
    return model::Llama(ctx, files_.config, model::load_llama_weights(files_));
  }
};

}  // namespace offbook::gpu_tests
