// Against independent implementations: fixtures of tools/golden/model.py. The tiny models need no
// downloaded weights; those of the default models are in golden_models_test.cc.
#include "src/model/golden.h"

#include "src/backend/testing_devices.h"

namespace offbook::model {
namespace {

class TinyModels : public testing::TestWithParam<std::string> {};

TEST_P(TinyModels, LogitsEqualTransformers) {
  const auto folder = std::filesystem::path("tests/golden/model") / GetParam();
  const auto golden = SafetensorsFile::open(real_file_system(), folder / "golden.safetensors");
  const ModelFiles files = open_model(real_file_system(), folder);
  for (const std::string& name : backend::all_devices()) {
    backend::ComputeDevice device({.name = name, .threads = 2});
    const backend::ExecutionContext ctx = device.context(backend::Compute::f32);
    const Llama model(ctx, files.config, load_llama_weights(files));
    const Tensor logits = all_logits(ctx, model, ints_of(golden->tensor("ids")));
    EXPECT_LE(nmse(logits, golden->tensor("logits")), 1e-6) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TinyModels, testing::Values("llama3", "mistral", "qwen2", "qwen3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace offbook::model
