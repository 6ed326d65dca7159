// Training against PyTorch: fixture of tools/golden/beacon_steps.py, which says what the run is.
#include <cmath>
#include <cstring>

#include "src/backend/testing_devices.h"
#include "src/compress/beacon/training.h"
#include "src/compress/beacon/weights.h"
#include "src/model/golden.h"
#include "src/model/import/weights.h"
#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

constexpr int64_t kContext = 24;
constexpr int64_t kContinuation = 12;

Tensor copy_of(const model::SafetensorsFile& golden, const std::string& name) {
  const Tensor from = golden.tensor(name);
  const Tensor copy = Tensor::empty(Dtype::f32, from.shape());
  std::memcpy(copy.raw(), from.raw(), static_cast<size_t>(from.bytes()));
  return copy;
}

BeaconWeights weights_of(const model::SafetensorsFile& golden, int64_t layers) {
  BeaconWeights out{.lora = {.rank = 4, .alpha = 8}, .ratios = {4, 8}};
  out.lora.layers.resize(static_cast<size_t>(layers));
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int t = 0; t < model::kLoraTargets; ++t) {
      const auto target = static_cast<model::LoraTarget>(t);
      const std::string name = fmt::format("layers.{}.{}", layer, model::to_string(target));
      out.lora.pair(layer, target) = {.a = copy_of(golden, name + ".a"),
                                      .b = copy_of(golden, name + ".b")};
    }
  }
  out.slot = copy_of(golden, "slot.vectors");
  out.pool = copy_of(golden, "slot.pool");
  return out;
}

std::vector<BeaconWindow> windows_of(const model::SafetensorsFile& golden) {
  const auto ints = [&](const char* name) { return model::ints_of(golden.tensor(name)); };
  const auto tokens = ints("tokens");
  const auto layouts = ints("layouts");
  const auto ratios = ints("ratios");
  const auto priors = ints("priors");
  const auto recalls = ints("recalls");
  std::vector<BeaconWindow> out;
  for (size_t i = 0; i < ratios.size(); ++i) {
    const auto at = tokens.begin() + static_cast<int64_t>(i) * (kContext + kContinuation);
    BeaconWindow window{.tokens = {at, at + kContext + kContinuation},
                        .layout = {layouts[2 * i]},
                        .ratio = ratios[i],
                        .is_behind_prior = priors[i] != 0,
                        .recalls = {recalls[2 * i], recalls[2 * i + 1]}};
    if (layouts[2 * i + 1] > 0) {
      window.layout.push_back(layouts[2 * i + 1]);
    }
    out.push_back(window);
  }
  return out;
}

// The fixture's windows in its order.
class Scripted final : public train::TrainingTask {
 public:
  Scripted(const backend::ExecutionContext& ctx, const model::Llama& base, BeaconWeights& weights,
           std::vector<BeaconWindow> windows)
      : base_(base),
        weights_(weights),
        windows_(std::move(windows)),
        parameters_(train::lora_parameters(ctx, weights.lora)) {
    parameters_.push_back(train::make_parameter(ctx, "slot.vectors", weights.slot));
    parameters_.push_back(train::make_parameter(ctx, "slot.pool", weights.pool));
  }
  std::vector<train::Parameter>& parameters() override { return parameters_; }
  train::LossSum micro_batch(const Graph& g, uint64_t) override {
    return beacon_window_loss(g, base_, weights_, windows_.at(next_++),
                              {.recall = {.length = 8, .cue = 2, .token = 9}});
  }
  std::optional<train::LossSum> evaluate(const Graph&) override { return std::nullopt; }

 private:
  const model::Llama& base_;
  BeaconWeights& weights_;
  std::vector<BeaconWindow> windows_;
  std::vector<train::Parameter> parameters_;
  size_t next_ = 0;
};

TEST(BeaconSteps, FollowPyTorch) {
  const auto golden =
      model::SafetensorsFile::open(real_file_system(), "tests/golden/beacon/steps.safetensors");
  const model::ModelFiles files =
      model::open_model(real_file_system(), "tests/golden/model/llama3");
  const std::vector<float> want(
      golden->tensor("losses").data<float>(),
      golden->tensor("losses").data<float>() + golden->tensor("losses").numel());
  ASSERT_EQ(want.size(), 20u);
  for (const std::string& name : backend::all_devices()) {
    backend::ComputeDevice device({.name = name, .threads = 2});
    const backend::ExecutionContext ctx = device.context(backend::Compute::f32);
    const model::Llama base(ctx, files.config, model::load_llama_weights(files));
    BeaconWeights weights = on_device(ctx, weights_of(*golden, files.config.layers));
    Scripted task(ctx, base, weights, windows_of(*golden));
    double worst = 0;
    train::train(ctx, real_file_system(), task,
                 {.steps = 20, .lr = 0.02f, .warmup_share = 0.1f, .lr_floor = 0.1f},
                 [&](const train::StepReport& report) {
                   const double wanted = want[static_cast<size_t>(report.step - 1)];
                   worst = std::max(worst, std::abs(report.loss - wanted) / wanted);
                   return true;
                 });
    EXPECT_LE(worst, 1e-4) << name;
    RecordProperty("worst_relative_difference", fmt::format("{:.2e}", worst));
  }
}

}  // namespace
}  // namespace offbook::compress
