// Against independent implementations: fixtures of tools/golden/model.py. The tiny models need no
// downloaded weights; those of the default models are in golden_models_test.cc.
#include "src/model/golden.h"

namespace offbook::model {
namespace {

class TinyModels : public testing::TestWithParam<std::string> {};

TEST_P(TinyModels, LogitsEqualTransformers) {
  const auto folder = std::filesystem::path("tests/golden/model") / GetParam();
  const auto golden = SafetensorsFile::open(real_file_system(), folder / "golden.safetensors");
  const ModelFiles files = open_model(real_file_system(), folder);
  for (const backend::Backend backend : {backend::Backend::reference, backend::best_cpu_backend()}) {
    backend::ThreadPool pool(2);
    backend::Arena arena;
    const backend::ExecutionContext ctx{.backend = backend, .pool = &pool, .arena = &arena};
    const Llama model(ctx, files.config, load_llama_weights(files));
    const Tensor logits = all_logits(ctx, model, ints_of(golden->tensor("ids")));
    EXPECT_LE(nmse(logits, golden->tensor("logits")), 1e-6) << backend::to_string(backend);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TinyModels, testing::Values("llama3", "mistral", "qwen2", "qwen3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace offbook::model
