#include "src/compress/icae/icae.h"

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/base/random.h"
#include "src/compress/text_losses.h"
#include "src/model/adapter_device.h"

namespace offbook::compress {
namespace {

constexpr char kTasks[] = "task.vectors";

}  // namespace

IcaeWeights new_icae(const backend::ExecutionContext& ctx, const BaseModel& base,
                     const IcaeInit& init) {
  IcaeWeights out{.encoder = new_autocompressor(
                      ctx, base, {.lora = init.lora, .summary_tokens = init.memory_tokens})};
  const int64_t hidden = base.llama.config().hidden;
  out.tasks = Tensor::empty(Dtype::f32, {2, hidden});
  Random random(init.lora.seed ^ 0x69636165ull);
  for (int64_t i = 0; i < out.tasks.numel(); ++i) {
    out.tasks.data<float>()[i] = out.encoder.summary.data<float>()[i % hidden];
  }
  for (const Tensor* t : {&out.encoder.summary, &out.tasks}) {
    for (int64_t i = 0; i < t->numel(); ++i) {
      t->data<float>()[i] += init.noise * static_cast<float>(random.normal());
    }
  }
  return out;
}

void put_icae(const IcaeWeights& icae, CompressorWeights& weights) {
  put_autocompressor(icae.encoder, weights);
  weights.method = "icae";
  Tensor copy = Tensor::empty(Dtype::f32, icae.tasks.shape());
  std::copy_n(icae.tasks.data<float>(), copy.numel(), copy.data<float>());
  weights.tensors[kTasks] = copy;
}

IcaeWeights take_icae(const CompressorWeights& weights, const model::ModelConfig& config) {
  return {.encoder = take_autocompressor(weights, config),
          .tasks = take_f32(weights, kTasks, {2, config.hidden})};
}

IcaeWeights on_device(const backend::ExecutionContext& ctx, const IcaeWeights& icae) {
  return {.encoder = on_device(ctx, icae.encoder), .tasks = backend::to_device(ctx, icae.tasks)};
}

IcaeWeights on_host(const backend::ExecutionContext& ctx, const IcaeWeights& icae) {
  return {.encoder = on_host(ctx, icae.encoder), .tasks = model::on_host(ctx, icae.tasks)};
}

std::vector<int32_t> whole_slot_spans(int32_t tokens, int32_t most, int32_t ratio) {
  std::vector<int32_t> ends;
  const int32_t slots = (tokens + ratio - 1) / ratio;
  const int32_t count = (tokens + most - 1) / most;
  for (int32_t i = 1; i <= count; ++i) {
    const auto end = static_cast<int32_t>((static_cast<int64_t>(slots) * i + count - 1) / count);
    ends.push_back(std::min(tokens, end * ratio));
  }
  return ends;
}

std::vector<train::LossSum> read_icae(const Graph& g, const model::Llama& base,
                                      const IcaeWeights& weights,
                                      std::span<const IcaeReading> readings,
                                      const AutoPassOptions& options) {
  std::vector<AutoSegment> segments;
  std::vector<std::vector<int32_t>>
      texts;  // with a place for the row that predicts the first token
  for (const IcaeReading& r : readings) {
    Tensor before = r.slots;
    if (r.task != IcaeTask::none) {
      const int32_t row = static_cast<int32_t>(r.task);
      const Tensor task =
          autograd::gather_rows(g, weights.tasks, model::make_ints(g.ctx, std::span(&row, 1), {1}));
      const Tensor in_kind = g.make(before.dtype(), task.shape());
      const int32_t first = 0;
      autograd::scatter_rows(g, task, model::make_ints(g.ctx, std::span(&first, 1), {1}), in_kind);
      before = autograd::concat_rows(g, before, in_kind);
    }
    segments.push_back({.before = before, .tokens = r.tokens});
    texts.push_back({0});
    texts.back().insert(texts.back().end(), r.tokens.begin(), r.tokens.end());
  }
  AutoPassOptions plain = options;
  plain.lora = nullptr;
  const std::vector<AutoOutput> outputs = run_segments(g, base, weights.encoder, segments, plain);
  Tensor hidden;
  std::vector<TargetText> scored;
  for (size_t i = 0; i < readings.size(); ++i) {
    hidden = hidden.defined() ? autograd::concat_rows(g, hidden, outputs[i].text_and_before)
                              : outputs[i].text_and_before;
    scored.push_back({.tokens = texts[i], .first_target = 1 + readings[i].first_target});
  }
  return score_texts(g, hidden, base.weights().lm_head, scored);
}

}  // namespace offbook::compress
