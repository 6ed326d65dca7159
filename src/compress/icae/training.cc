#include "src/compress/icae/training.h"

#include <algorithm>

#include "src/autograd/functional.h"
#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

using Tokens = std::span<const int32_t>;

// One pass over the spans of several texts; which rows belong to whom.
struct Encoding {
  std::vector<AutoSegment> segments;
  std::vector<size_t> first;  // segment of each text

  void add(Tokens text, int32_t most, int32_t ratio) {
    first.push_back(segments.size());
    int32_t begin = 0;
    for (const int32_t end : whole_slot_spans(static_cast<int32_t>(text.size()), most, ratio)) {
      const int32_t n = end - begin;
      segments.push_back(
          {.tokens = text.subspan(static_cast<size_t>(begin), static_cast<size_t>(n)),
           .summary = (n + ratio - 1) / ratio});
      begin = end;
    }
  }
  std::vector<Tensor> slots(const Graph& g, const std::vector<AutoOutput>& outputs) const {
    std::vector<Tensor> out;
    for (size_t i = 0; i < first.size(); ++i) {
      const size_t end = i + 1 < first.size() ? first[i + 1] : segments.size();
      Tensor all = outputs[first[i]].vectors;
      for (size_t s = first[i] + 1; s < end; ++s) {
        all = autograd::concat_rows(g, all, outputs[s].vectors);
      }
      out.push_back(all);
    }
    return out;
  }
};

int32_t longest_span(const IcaeWeights& weights, int32_t ratio) {
  return ratio * static_cast<int32_t>(weights.encoder.summary.dim(0));
}

int32_t between(Random& random, int32_t low, int32_t high) {
  return low +
         static_cast<int32_t>(random.below(static_cast<uint64_t>(std::max(0, high - low)) + 1));
}

}  // namespace

Tensor icae_slots(const Graph& g, const model::Llama& writer, const IcaeWeights& weights,
                  Tokens tokens, int32_t ratio, const AutoPassOptions& options) {
  Encoding encoding;
  encoding.add(tokens, longest_span(weights, ratio), ratio);
  return encoding.slots(g, run_segments(g, writer, weights.encoder, encoding.segments, options))
      .front();
}

struct IcaeTrainingTask::Window {
  std::vector<int32_t> context;
  std::vector<int32_t> text;
  IcaeTask task = IcaeTask::none;
  int32_t first_target = 0;
};

IcaeTrainingTask::IcaeTrainingTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                                   IcaeWeights& weights, const TrainingSet& training,
                                   const IcaeTrainingOptions& options)
    : base_(base),
      weights_(weights),
      training_(training),
      options_(options),
      parameters_(train::lora_parameters(ctx, weights.encoder.lora)) {
  const int32_t longest = longest_span(weights, options.ratio);
  OB_REQUIRE(options.windows >= 1 && options.ratio >= 1 && options.shortest >= 1 &&
                 options.shortest <= longest && options.continuation >= 2 &&
                 options.most_spans >= 1,
             InvalidArgument, "{} windows of spans of {} to {} tokens, {} continued",
             options.windows, options.shortest, longest, options.continuation);
  OB_REQUIRE(options.autoencode_share >= 0 && options.instruct_share >= 0 &&
                 options.autoencode_share + options.instruct_share <= 1,
             InvalidArgument, "shares {} of autoencoding and {} of instructions",
             options.autoencode_share, options.instruct_share);
  const int64_t slots = static_cast<int64_t>(options.most_spans) * weights.encoder.summary.dim(0);
  OB_REQUIRE(
      longest + weights.encoder.summary.dim(0) + 1 <= base.config().max_positions &&
          slots + 2 + std::max(longest + 1, options.continuation) <= base.config().max_positions,
      InvalidArgument, "{} slots and spans of {} tokens in a window of {}", slots, longest,
      base.config().max_positions);
  double sum = 0;
  for (const TrainingDocument& d : training.documents) {
    const auto size = static_cast<int32_t>(d.tokens.size());
    sum += size >= options.shortest + options.continuation ? d.weight * size : 0;
    ends_.push_back(sum);
  }
  OB_REQUIRE(sum > 0, InvalidArgument, "{} documents, none of {} tokens", training.documents.size(),
             options.shortest + options.continuation);
  each_learned(weights_.encoder, [&](const char* name, Tensor& tensor) {
    parameters_.push_back(train::make_parameter(ctx, name, tensor));
  });
  parameters_.push_back(train::make_parameter(ctx, "task.rows", weights_.tasks));
}

IcaeTrainingTask::Window IcaeTrainingTask::draw(Random& random) const {
  const auto at = std::upper_bound(ends_.begin(), ends_.end(), random.uniform() * ends_.back());
  const TrainingDocument& d =
      training_.documents[std::min(static_cast<size_t>(at - ends_.begin()), ends_.size() - 1)];
  const auto size = static_cast<int32_t>(d.tokens.size());
  const double kind = random.uniform();
  const int32_t longest = longest_span(weights_, options_.ratio);
  Window w;
  if (kind < options_.autoencode_share) {
    const int32_t length = between(random, options_.shortest, std::min(size, longest));
    const int32_t begin = between(random, 0, size - length);
    w.context = {d.tokens.begin() + begin, d.tokens.begin() + begin + length};
    w.text = w.context;
    w.text.push_back(options_.end_token);
    w.task = IcaeTask::autoencode;
    return w;
  }
  const int32_t most = longest * between(random, 1, options_.most_spans);
  if (kind < options_.autoencode_share + options_.instruct_share && !d.examples.empty()) {
    const TrainingExample& e = d.examples[random.below(d.examples.size())];
    const int32_t length = std::min(size, between(random, std::min(most, longest), most));
    const int32_t middle = (e.evidence_begin + e.evidence_end) / 2;
    const int32_t begin =
        std::clamp(middle - between(random, length / 8, length * 7 / 8), 0, size - length);
    if (begin <= e.evidence_begin && e.evidence_end <= begin + length) {
      w.context = {d.tokens.begin() + begin, d.tokens.begin() + begin + length};
      w.text = e.question;
      w.text.insert(w.text.end(), e.answer.begin(), e.answer.end());
      w.first_target = static_cast<int32_t>(e.question.size());
      return w;
    }
  }
  const int32_t length =
      between(random, options_.shortest, std::min(most, size - options_.continuation));
  const int32_t begin = between(random, 0, size - options_.continuation - length);
  const auto middle = d.tokens.begin() + begin + length;
  w.context = {d.tokens.begin() + begin, middle};
  w.text = {middle, middle + options_.continuation};
  w.task = IcaeTask::continuation;
  return w;
}

train::LossSum IcaeTrainingTask::micro_batch(const Graph& g, uint64_t seed) {
  Random random(seed);
  std::vector<Window> windows;
  Encoding encoding;
  for (int32_t i = 0; i < options_.windows; ++i) {
    windows.push_back(draw(random));
  }
  const AutoPassOptions pass{.lora = &weights_.encoder.lora,
                             .checkpointing = options_.checkpointing,
                             .activations = options_.activations};
  for (const Window& w : windows) {
    encoding.add(w.context, longest_span(weights_, options_.ratio), options_.ratio);
    rows_ += static_cast<int64_t>(w.context.size() +
                                  w.context.size() / static_cast<size_t>(options_.ratio) * 2 +
                                  w.text.size());
  }
  const std::vector<Tensor> slots =
      encoding.slots(g, run_segments(g, base_, weights_.encoder, encoding.segments, pass));
  std::vector<IcaeReading> readings;
  for (size_t i = 0; i < windows.size(); ++i) {
    readings.push_back({.slots = slots[i],
                        .task = windows[i].task,
                        .tokens = windows[i].text,
                        .first_target = windows[i].first_target});
  }
  train::LossSum total;
  for (const train::LossSum& part : read_icae(g, base_, weights_, readings, pass)) {
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

IcaeFigures measure_icae(const backend::ExecutionContext& ctx, const model::Llama& base,
                         const IcaeWeights& weights,
                         const std::vector<TrainingText::Window>& windows,
                         const IcaeMeasureOptions& o) {
  const auto context = static_cast<size_t>(o.context);
  const auto continuation = static_cast<size_t>(o.continuation);
  for (const TrainingText::Window& window : windows) {
    OB_REQUIRE(window.tokens.size() >= context + continuation, InvalidArgument,
               "a held-out window of {} tokens where {} are read", window.tokens.size(),
               context + continuation);
  }
  const std::vector<size_t> others = other_documents(windows);
  IcaeFigures out{.memory = {.ratio = o.ratio}};
  MemoryLosses& losses = out.memory.continuation;
  const AutoPassOptions pass{.lora = &weights.encoder.lora, .activations = ctx.activations()};
  for (size_t i = 0; i < windows.size(); ++i) {
    backend::ArenaScope scope(*ctx.arena);
    const Graph g{ctx};
    const Tokens text = Tokens(windows[i].tokens).first(context);
    const Tokens next = Tokens(windows[i].tokens).subspan(context, continuation);
    const Tensor right = icae_slots(g, base, weights, text, o.ratio, pass);
    const Tensor other = icae_slots(
        g, base, weights, Tokens(windows[others[i]].tokens).first(context), o.ratio, pass);
    std::vector<int32_t> whole(text.begin(), text.end());
    whole.insert(whole.end(), next.begin(), next.end());
    std::vector<int32_t> ended(text.begin(), text.end());
    ended.push_back(o.end_token);
    const auto loss = [&](const Tensor& slots, IcaeTask task, Tokens tokens, int32_t first) {
      const IcaeReading r{slots, task, tokens, first};
      return read_icae(g, base, weights, std::span(&r, 1), pass).front().mean();
    };
    const auto n = static_cast<int32_t>(context);
    const std::string& group = windows[i].group;
    losses.none.add(group, loss({}, IcaeTask::none, next, 1));
    losses.raw.add(group, loss({}, IcaeTask::none, whole, n + 1));
    losses.right.add(group, loss(right, IcaeTask::continuation, next, 1));
    losses.other.add(group, loss(other, IcaeTask::continuation, next, 1));
    losses.other_then_raw.add(group, loss(other, IcaeTask::continuation, whole, n + 1));
    out.autoencode += loss(right, IcaeTask::autoencode, ended, 0);
    out.autoencode_other += loss(other, IcaeTask::autoencode, ended, 0);
    ++out.memory.windows;
  }
  out.autoencode /= static_cast<double>(std::max<size_t>(1, windows.size()));
  out.autoencode_other /= static_cast<double>(std::max<size_t>(1, windows.size()));
  return out;
}

}  // namespace offbook::compress
