#include "src/train/full_task.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "src/backend/testing_devices.h"
#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/model/import/weights.h"
#include "src/ops/registry.h"

namespace offbook::train {
namespace {

using backend::ExecutionContext;

// The small model of the fixtures, in memory that may be written to.
model::LlamaWeights own_weights(const ExecutionContext& ctx, const model::ModelFiles& files,
                                Dtype dtype) {
  model::LlamaWeights w = model::load_llama_weights(files);
  const bool tied = w.lm_head.raw() == w.embedding.raw();
  const auto own = [&](Tensor& t, Dtype type) {
    if (t.defined()) {
      const Tensor copy = Tensor::empty(type, t.shape());
      ops::copy(ctx, {.x = t, .out = copy});
      t = copy;
    }
  };
  own(w.embedding, dtype);
  own(w.lm_head, dtype);
  w.lm_head = tied ? w.embedding : w.lm_head;
  own(w.final_norm, Dtype::f32);
  for (model::LlamaLayerWeights& l : w.layers) {
    for (Tensor* t : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) {
      own(*t, dtype);
    }
    for (Tensor* t : {&l.attn_norm, &l.ffn_norm, &l.q_bias, &l.k_bias, &l.v_bias, &l.o_bias,
                      &l.q_norm, &l.k_norm}) {
      own(*t, Dtype::f32);
    }
  }
  return w;
}

std::vector<TrainingSequence> some_sequences(const model::ModelConfig& config) {
  Random random(5);
  std::vector<TrainingSequence> out;
  for (const int length : {9, 14, 5}) {
    TrainingSequence s;
    for (int i = 0; i < length; ++i) {
      s.tokens.push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab_size))));
    }
    out.push_back(std::move(s));
  }
  return out;
}

class FullTaskTest : public ::testing::TestWithParam<const char*> {
 protected:
  const model::ModelFiles files_ =
      model::open_model(real_file_system(), std::string("tests/golden/model/") + GetParam());
  backend::ComputeDevice host_{{.name = "reference", .threads = 2}};
};

// The gradient of a loss by a weight is how much the loss changes with it.
TEST_P(FullTaskTest, GradientsAreDifferencesOfLosses) {
  const ExecutionContext ctx = host_.context(backend::Compute::f32);
  for (const model::Matrices form : {model::Matrices::as_device, model::Matrices::joined}) {
    const model::Llama model(ctx, files_.config, own_weights(ctx, files_, Dtype::f32), form);
    FullTask task(ctx, model, some_sequences(files_.config), {}, {.micro_batch_tokens = 100});
    autograd::Tape tape(ctx);
    for (const Parameter& run : runs_of(task.parameters())) {
      tape.watch(run.watched(), run.grad);
    }
    task.micro_batch(Graph{ctx, &tape}, 3);
    tape.backward();
    const auto loss = [&] { return task.micro_batch(Graph{ctx}, 3).sum; };
    for (const Parameter& p : task.parameters()) {
      // The element that matters most: f32 losses hide the others in their rounding.
      const float* const grad = p.grad.data<float>();
      int64_t at = 0;
      for (int64_t i = 1; i < p.grad.numel(); ++i) {
        at = std::abs(grad[i]) > std::abs(grad[at]) ? i : at;
      }
      float& x = p.value.data<float>()[at];
      const float before = x;
      const float step = 0.01f;
      x = before + step;
      const double above = loss();
      x = before - step;
      const double below = loss();
      x = before;
      const double slope = (above - below) / (2 * step);
      EXPECT_NEAR(grad[at], slope, 0.02 * std::abs(slope) + 2e-3) << p.name << ", element " << at;
    }
  }
}

// bf16 weights follow f32 copies, which keep changes that bf16 would round away.
TEST_P(FullTaskTest, TrainsCopiesOfRoundedWeights) {
  for (const std::string& name : backend::all_devices()) {
    backend::ComputeDevice device({.name = name, .threads = 2});
    const ExecutionContext ctx = device.context(backend::Compute::bf16);
    const ExecutionContext host = host_.context(backend::Compute::f32);
    const auto losses = [&](Dtype dtype) {
      const model::Llama model(ctx, files_.config, own_weights(host, files_, dtype));
      const auto sequences = some_sequences(files_.config);
      FullTask task(ctx, model, sequences, sequences,
                    {.micro_batch_tokens = 100, .activations = ctx.activations()});
      std::vector<double> out;
      train(ctx, real_file_system(), task,
            {.steps = 12, .lr = 2e-3f, .warmup_share = 0, .evaluate_every = 4},
            [&](const StepReport& report) {
              out.push_back(report.loss);
              return true;
            });
      for (const Parameter& p : task.parameters()) {
        EXPECT_EQ(p.working.defined(), p.value.raw() != p.watched().raw()) << p.name;
        if (p.working.defined()) {
          backend::ArenaScope scope(*ctx.arena);
          const Tensor rounded = ctx.make(Dtype::bf16, p.value.shape());
          ops::copy(ctx, {.x = p.value, .out = rounded});
          const auto bytes = [&](const Tensor& t) {
            std::vector<std::byte> b(static_cast<size_t>(t.bytes()));
            backend::download(ctx, t, b);
            return b;
          };
          EXPECT_EQ(bytes(rounded), bytes(p.working)) << name << ", " << p.name;
        }
      }
      return out;
    };
    const std::vector<double> rounded = losses(Dtype::bf16);
    const std::vector<double> exact = losses(Dtype::f32);
    EXPECT_LT(rounded.back(), 0.8 * rounded.front()) << name;
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(rounded[i], exact[i], 0.03 * exact[i]) << name << ", step " << i + 1;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FullTaskTest, ::testing::Values("llama3", "qwen2", "qwen3"));

}  // namespace
}  // namespace offbook::train
