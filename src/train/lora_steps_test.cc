// Training against PyTorch: fixture of tools/golden/lora_steps.py, which says what the run is.
#include <cmath>

#include "src/backend/testing_devices.h"
#include "src/model/adapter_device.h"
#include "src/model/golden.h"
#include "src/model/import/safetensors.h"
#include "src/train/lora_task.h"

namespace offbook::train {
namespace {

constexpr int64_t kSteps = 20;
constexpr int64_t kMicroBatches = 2;  // a step
constexpr int64_t kPacked = 3;        // sequences a micro-batch

std::vector<TrainingSequence> sequences_of(const model::SafetensorsFile& golden) {
  const std::vector<int32_t> ids = model::ints_of(golden.tensor("ids"));
  const std::vector<int32_t> lengths = model::ints_of(golden.tensor("lengths"));
  const std::vector<int32_t> first = model::ints_of(golden.tensor("first_targets"));
  std::vector<TrainingSequence> out;
  auto at = ids.begin();
  for (size_t i = 0; i < lengths.size(); ++i) {
    out.push_back({.tokens = {at, at + lengths[i]}, .first_target = first[i]});
    at += lengths[i];
  }
  return out;
}

model::LoraAdapter adapter_of(const model::SafetensorsFile& golden, int64_t layers) {
  model::LoraAdapter adapter{.rank = 4, .alpha = 8};
  adapter.layers.resize(static_cast<size_t>(layers));
  const auto own = [&](const std::string& name) {
    const Tensor from = golden.tensor(name);
    const Tensor copy = Tensor::empty(Dtype::f32, from.shape());
    std::memcpy(copy.raw(), from.raw(), static_cast<size_t>(from.bytes()));
    return copy;
  };
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int t = 0; t < model::kLoraTargets; ++t) {
      const auto target = static_cast<model::LoraTarget>(t);
      const std::string name = fmt::format("layers.{}.{}", layer, model::to_string(target));
      adapter.pair(layer, target) = {.a = own(name + ".a"), .b = own(name + ".b")};
    }
  }
  return adapter;
}

// The fixture's batches in its order, each packed as LoraTask packs a whole training part.
class Scripted final : public TrainingTask {
 public:
  Scripted(const backend::ExecutionContext& ctx, const model::Llama& model,
           model::LoraAdapter& adapter, const std::vector<TrainingSequence>& sequences,
           const LoraTaskOptions& options)
      : parameters_(lora_parameters(ctx, adapter)) {
    for (auto at = sequences.begin(); at != sequences.end(); at += kPacked) {
      batches_.emplace_back(ctx, model, adapter, std::vector(at, at + kPacked),
                            std::vector<TrainingSequence>{}, options);
    }
  }
  std::vector<Parameter>& parameters() override { return parameters_; }
  // The seed says only in which order the batch's sequences are packed.
  LossSum micro_batch(const Graph& g, uint64_t seed) override {
    return batches_[next_++ % batches_.size()].micro_batch(g, seed);
  }
  std::optional<LossSum> evaluate(const Graph&) override { return std::nullopt; }

 private:
  std::vector<Parameter> parameters_;
  std::vector<LoraTask> batches_;
  size_t next_ = 0;
};

struct Steps {
  std::vector<double> losses;
  double worst = 0;  // largest relative distance of a loss to PyTorch's
};
Steps steps_of(const backend::ExecutionContext& ctx, const model::Llama& model,
               model::LoraAdapter adapter, const model::SafetensorsFile& golden,
               const LoraTaskOptions& task_options) {
  const Tensor want = golden.tensor("losses");
  EXPECT_EQ(want.numel(), kSteps);
  Scripted task(ctx, model, adapter, sequences_of(golden), task_options);
  const TrainerOptions options{.steps = kSteps,
                               .accumulation = kMicroBatches,
                               .lr = 0.02f,
                               .warmup_share = 0.1f,
                               .lr_floor = 0.1f,
                               .adamw = {.weight_decay = 0.05f, .clip_norm = 1.7f}};
  Steps out;
  train(ctx, real_file_system(), task, options, [&](const StepReport& report) {
    const double wanted = want.data<float>()[report.step - 1];
    const double norm = golden.tensor("norms").data<float>()[report.step - 1];
    out.losses.push_back(report.loss);
    out.worst = std::max(out.worst, std::abs(report.loss - wanted) / wanted);
    EXPECT_NEAR(report.gradient_norm, norm, 1e-3 * norm) << "step " << report.step;
    return true;
  });
  return out;
}

TEST(LoraSteps, FollowPyTorch) {
  const auto golden =
      model::SafetensorsFile::open(real_file_system(), "tests/golden/lora/steps.safetensors");
  const model::ModelFiles files =
      model::open_model(real_file_system(), "tests/golden/model/llama3");
  for (const std::string& name : backend::all_devices()) {
    backend::ComputeDevice device({.name = name, .threads = 2});
    const backend::ExecutionContext ctx = device.context(backend::Compute::f32);
    const model::Llama model(ctx, files.config, model::load_llama_weights(files));
    const auto steps = [&](int64_t kept_bytes) {
      return steps_of(ctx, model, model::on_device(ctx, adapter_of(*golden, files.config.layers)),
                      *golden, {.kept_bytes = kept_bytes});
    };
    const Steps all_twice = steps(0);  // every layer runs again in backward
    EXPECT_LE(all_twice.worst, 1e-4) << name;
    RecordProperty("worst_relative_difference_" + name, fmt::format("{:.2e}", all_twice.worst));
    if (name == "reference") {
      continue;
    }
    for (const int64_t kept_bytes : {int64_t{100'000}, int64_t{1} << 30}) {  // some layers, and all
      const Steps kept = steps(kept_bytes);
      EXPECT_LE(kept.worst, 1e-4) << name << ", " << kept_bytes;
      if (name != "cuda") {
        EXPECT_EQ(kept.losses, all_twice.losses) << name << ": what is kept changes no bit";
      }
    }
    // A sequence a pass: the same sums in another order.
    const Steps alone =
        steps_of(ctx, model, model::on_device(ctx, adapter_of(*golden, files.config.layers)),
                 *golden, {.kept_bytes = 100'000, .fewest_rows = 1});
    EXPECT_LE(alone.worst, 1e-4) << name;
  }
}

// As on a GPU: matrices that read one input are one, so are the adapter's factors beside them, and
// the optimizer steps over one block.
TEST(LoraSteps, FollowPyTorchWithJoinedMatrices) {
  const auto golden =
      model::SafetensorsFile::open(real_file_system(), "tests/golden/lora/steps.safetensors");
  const model::ModelFiles files =
      model::open_model(real_file_system(), "tests/golden/model/llama3");
  backend::ComputeDevice device({.name = "cpu", .threads = 2});
  const backend::ExecutionContext ctx = device.context(backend::Compute::f32);
  const model::Llama model(ctx, files.config, model::load_llama_weights(files),
                           model::Matrices::joined);
  const model::LoraAdapter adapter =
      model::in_one_block(ctx, adapter_of(*golden, files.config.layers));
  EXPECT_LT(runs_of(lora_parameters(ctx, adapter)).size(), 2u);
  EXPECT_LE(steps_of(ctx, model, adapter, *golden, {}).worst, 1e-4);
}

}  // namespace
}  // namespace offbook::train
