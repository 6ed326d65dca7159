#include "src/compress/beacon/training.h"

#include <algorithm>
#include <numeric>

#include "src/autograd/functional.h"
#include "src/compress/text_losses.h"
#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

using Tokens = std::span<const int32_t>;

int64_t sum_of(const std::vector<int32_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

// The announcing token and the span from `begin` on.
std::vector<int32_t> recall_text(Tokens context, int64_t begin, const RecallOptions& options) {
  std::vector<int32_t> out{options.token};
  const auto span =
      context.subspan(static_cast<size_t>(begin), static_cast<size_t>(options.length - 1));
  out.insert(out.end(), span.begin(), span.end());
  return out;
}

// Where spans to recall begin.
std::vector<int32_t> recall_places(int64_t context, const RecallOptions& options, Random& random) {
  std::vector<int32_t> out;
  for (int32_t i = 0; i < options.spans; ++i) {
    out.push_back(
        static_cast<int32_t>(random.below(static_cast<uint64_t>(context - options.length + 2))));
  }
  return out;
}

model::LayerKv joined(const Graph& g, const model::LayerKv& a, const model::LayerKv& b) {
  model::LayerKv out;
  for (size_t layer = 0; layer < a.k.size(); ++layer) {
    out.k.push_back(autograd::concat_rows(g, a.k[layer], b.k[layer]));
    out.v.push_back(autograd::concat_rows(g, a.v[layer], b.v[layer]));
  }
  return out;
}

struct WindowWrite {
  Tokens context;
  const std::vector<int32_t>& lengths;
  int32_t ratio = 8;
  bool is_behind_prior = false;
};

// Memory of a window's context: one sink and all slots, in order.
model::LayerKv write_window(const Graph& g, const model::Llama& writer,
                            const BeaconWeights& weights, const WindowWrite& window,
                            const WriteOptions& options) {
  std::vector<BeaconSegment> segments;
  size_t at = 0;
  for (const int32_t length : window.lengths) {
    segments.push_back({.tokens = window.context.subspan(at, static_cast<size_t>(length)),
                        .ratio = window.ratio,
                        .keeps_sink = segments.empty()});
    at += static_cast<size_t>(length);
  }
  if (!window.is_behind_prior) {
    return write_slots(g, writer, weights, segments, options).kv;
  }
  model::LayerKv memory = write_slots(g, writer, weights, std::span(segments).first(1), options).kv;
  for (size_t i = 1; i < segments.size(); ++i) {
    WriteOptions behind = options;
    behind.prior = &memory;
    segments[i].prior = {0, static_cast<int32_t>(memory.tokens())};
    memory =
        joined(g, memory, write_slots(g, writer, weights, std::span(&segments[i], 1), behind).kv);
  }
  return memory;
}

void check(const BeaconTrainingOptions& o, const BeaconWeights& weights,
           const model::ModelConfig& config) {
  OB_REQUIRE(o.ratio_shares.size() == weights.ratios.size(), InvalidArgument,
             "{} shares for {} ratios", o.ratio_shares.size(), weights.ratios.size());
  OB_REQUIRE(!o.layouts.empty() && o.continuation >= 2 && o.windows >= 1, InvalidArgument,
             "training needs a layout, a continuation of at least 2 tokens and a window, not {}, "
             "{} and {}",
             o.layouts.size(), o.continuation, o.windows);
  OB_REQUIRE(o.recall.spans >= 0 && o.recall.cue >= 0 && o.recall.length > o.recall.cue + 1 &&
                 o.recall.token >= 0 && o.recall.token < config.vocab_size,
             InvalidArgument, "recall of {} spans of {} tokens after {} and the token {}",
             o.recall.spans, o.recall.length, o.recall.cue, o.recall.token);
  for (const std::vector<int32_t>& layout : o.layouts) {
    OB_REQUIRE(!layout.empty() && *std::min_element(layout.begin(), layout.end()) >= 1 &&
                   sum_of(layout) >= o.recall.length &&
                   2 * sum_of(layout) + 2 <= config.max_positions &&
                   sum_of(layout) + 1 + o.continuation <= config.max_positions,
               InvalidArgument,
               "segments of {} tokens, recall of {} and continuation of {} in a window of {}",
               fmt::join(layout, "+"), o.recall.length, o.continuation, config.max_positions);
  }
}

size_t choose(const std::vector<double>& shares, Random& random) {
  double left = random.uniform() * std::accumulate(shares.begin(), shares.end(), 0.0);
  for (size_t i = 0; i + 1 < shares.size(); ++i) {
    left -= shares[i];
    if (left < 0) {
      return i;
    }
  }
  return shares.size() - 1;
}

}  // namespace

BeaconTask::BeaconTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                       BeaconWeights& weights, const TrainingText& training,
                       std::vector<TrainingText::Window> held_out,
                       const BeaconTrainingOptions& options)
    : base_(base),
      weights_(weights),
      training_(training),
      held_out_(std::move(held_out)),
      options_(options),
      parameters_(train::lora_parameters(ctx, weights.lora)) {
  check(options_, weights_, base_.config());
  int64_t longest = 0;
  for (const auto& layout : options_.layouts) {
    longest = std::max(longest, sum_of(layout) + options_.continuation);
  }
  OB_REQUIRE(training_.tokens() >= longest, InvalidArgument,
             "{} tokens of training text for windows of {}", training_.tokens(), longest);
  const int64_t wanted = sum_of(options_.layouts.front()) + options_.continuation;
  for (const TrainingText::Window& window : held_out_) {
    OB_REQUIRE(static_cast<int64_t>(window.tokens.size()) >= wanted, InvalidArgument,
               "a held-out window of {} tokens where {} are read", window.tokens.size(), wanted);
  }
  parameters_.push_back(train::make_parameter(ctx, "slot.vectors", weights_.slot));
  parameters_.push_back(train::make_parameter(ctx, "slot.pool", weights_.pool));
}

train::LossSum beacon_window_loss(const Graph& g, const model::Llama& base,
                                  const BeaconWeights& weights, const BeaconWindow& window,
                                  const BeaconTrainingOptions& options) {
  const Tokens all(window.tokens);
  const auto context = static_cast<size_t>(sum_of(window.layout));
  const model::LayerKv memory = write_window(
      g, base, weights, {all.first(context), window.layout, window.ratio, window.is_behind_prior},
      {.lora = &weights.lora,
       .checkpointing = options.checkpointing,
       .activations = options.activations});
  const SlotRange slots{0, static_cast<int32_t>(memory.tokens())};
  std::vector<ReadTask> tasks{{all.subspan(context), slots}};
  std::vector<ScoredText> texts{{.tokens = tasks[0].tokens}};
  const RecallOptions& recall = options.recall;
  const double recall_targets =
      static_cast<double>(window.recalls.size()) * (recall.length - recall.cue - 1);
  // The recall losses' mean counts as `weight` times the continuation's mean.
  const double continued = static_cast<double>(window.tokens.size() - context - 1);
  const auto weight = window.recalls.empty()
                          ? 0.0f
                          : static_cast<float>(recall.weight * continued / recall_targets);
  std::vector<std::vector<int32_t>> recalled;
  for (const int32_t begin : window.recalls) {
    recalled.push_back(recall_text(all.first(context), begin, recall));
  }
  for (const std::vector<int32_t>& text : recalled) {
    tasks.push_back({text, slots});
    texts.push_back({.tokens = text, .first_target = recall.cue + 1, .weight = weight});
  }
  const Tensor hidden = read_tasks(
      g, base, memory, tasks,
      {.pass = {.checkpointing = options.checkpointing}, .activations = options.activations});
  const auto losses = score_texts(g, hidden, base.weights().lm_head, texts);
  train::LossSum out = losses[0];
  for (size_t i = 1; i < losses.size(); ++i) {
    out.sum += weight * losses[i].sum;
  }
  return out;
}

train::LossSum BeaconTask::micro_batch(const Graph& g, uint64_t seed) {
  Random random(seed);
  train::LossSum total;
  for (int32_t i = 0; i < options_.windows; ++i) {
    BeaconWindow window{.layout = options_.layouts[random.below(options_.layouts.size())]};
    window.ratio = weights_.ratios[choose(options_.ratio_shares, random)];
    window.is_behind_prior =
        window.layout.size() > 1 && random.uniform() < options_.behind_prior_share;
    const int64_t context = sum_of(window.layout);
    window.tokens = training_.draw(random, context + options_.continuation);
    window.recalls = recall_places(context, options_.recall, random);
    const train::LossSum part = beacon_window_loss(g, base_, weights_, window, options_);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

std::optional<train::LossSum> BeaconTask::evaluate(const Graph& g) {
  if (held_out_.empty()) {
    return std::nullopt;
  }
  train::LossSum total;
  const int64_t context = sum_of(options_.layouts.front());
  for (size_t i = 0; i < held_out_.size(); ++i) {
    backend::ArenaScope scope(*g.ctx.arena);
    Random random(i);
    const auto begin = held_out_[i].tokens.begin();
    const BeaconWindow window{.tokens = {begin, begin + context + options_.continuation},
                              .layout = options_.layouts.front(),
                              .ratio = weights_.ratios[i % weights_.ratios.size()],
                              .recalls = recall_places(context, options_.recall, random)};
    const train::LossSum part = beacon_window_loss(g, base_, weights_, window, options_);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

double BeaconTask::tokens_per_micro_batch() const {
  double context = 0;
  for (const auto& layout : options_.layouts) {
    context += static_cast<double>(sum_of(layout)) / static_cast<double>(options_.layouts.size());
  }
  return options_.windows *
         (context + options_.continuation + options_.recall.spans * options_.recall.length);
}

namespace {

// Measures windows in the company of other documents' memories.
class Measure {
 public:
  Measure(const backend::ExecutionContext& ctx, const model::Llama& base,
          const BeaconWeights& weights, const BeaconMeasureOptions& options)
      : ctx_(ctx), base_(base), weights_(weights), options_(options) {}

  void window(const TrainingText::Window& window, const TrainingText::Window& other,
              MemoryFigures& to) {
    backend::ArenaScope scope(*ctx_.arena);
    const Graph g{ctx_};
    const Tokens context = context_of(window);
    const BeaconSegment segments[] = {{.tokens = context, .ratio = to.ratio},
                                      {.tokens = context_of(other), .ratio = to.ratio}};
    const WrittenSlots slots = write_slots(g, base_, weights_, segments, {.lora = &weights_.lora});
    // No memory: the base's own sink alone (its row does not depend on the token behind it).
    const BeaconSegment first{.tokens = context.first(1)};
    const WrittenSlots plain = write_raw(g, base_, std::span(&first, 1), {});
    const SlotRange sink{0, 1};
    Random random(options_.seed);
    std::vector<Question> questions{
        {.text = {window.tokens.begin() + options_.context,
                  window.tokens.begin() + options_.context + options_.continuation},
         .first_target = 1,
         .losses = &to.continuation}};
    for (const int32_t begin : recall_places(options_.context, options_.recall, random)) {
      questions.push_back({.text = recall_text(context, begin, options_.recall),
                           .first_target = options_.recall.cue + 1,
                           .losses = &to.recall});
      to.has_recall = true;
    }
    for (const Question& question : questions) {
      add(g, slots, {question, window.group, {}, slots.ranges[0]}, question.losses->right);
      add(g, slots, {question, window.group, {}, slots.ranges[1]}, question.losses->other);
      add(g, slots, {question, window.group, context, slots.ranges[1]},
          question.losses->other_then_raw);
      if (to.ratio == weights_.ratios.front()) {  // these know no ratio
        add(g, plain, {question, window.group, {}, sink}, question.losses->none);
        add(g, plain, {question, window.group, context, sink}, question.losses->raw);
      }
    }
    ++to.windows;
  }

 private:
  struct Question {
    std::vector<int32_t> text;
    int32_t first_target = 1;
    MemoryLosses* losses = nullptr;
  };
  struct Reading {
    const Question& question;
    const std::string& group;
    Tokens lead;  // raw text between memory and question
    SlotRange memory;
  };

  Tokens context_of(const TrainingText::Window& window) const {
    return Tokens(window.tokens).first(static_cast<size_t>(options_.context));
  }

  void add(const Graph& g, const WrittenSlots& slots, const Reading& reading,
           metrics::DomainLoss& to) {
    backend::ArenaScope scope(*ctx_.arena);
    std::vector<int32_t> tokens(reading.lead.begin(), reading.lead.end());
    tokens.insert(tokens.end(), reading.question.text.begin(), reading.question.text.end());
    const ReadTask task{tokens, reading.memory};
    const Tensor hidden = read_tasks(g, base_, slots.kv, std::span(&task, 1), {});
    const ScoredText text{
        .tokens = tokens,
        .first_target = static_cast<int32_t>(reading.lead.size()) + reading.question.first_target};
    to.add(reading.group,
           score_texts(g, hidden, base_.weights().lm_head, std::span(&text, 1)).front().mean());
  }

  const backend::ExecutionContext& ctx_;
  const model::Llama& base_;
  const BeaconWeights& weights_;
  const BeaconMeasureOptions& options_;
};

}  // namespace

std::vector<MemoryFigures> measure_beacon(const backend::ExecutionContext& ctx,
                                          const model::Llama& base, const BeaconWeights& weights,
                                          const std::vector<TrainingText::Window>& windows,
                                          const BeaconMeasureOptions& options) {
  for (const TrainingText::Window& window : windows) {
    OB_REQUIRE(static_cast<int64_t>(window.tokens.size()) >= options.context + options.continuation,
               InvalidArgument, "a held-out window of {} tokens where {} are read",
               window.tokens.size(), options.context + options.continuation);
  }
  const std::vector<size_t> others = other_documents(windows);
  Measure measure(ctx, base, weights, options);
  std::vector<MemoryFigures> out;
  for (const int32_t ratio : weights.ratios) {
    out.push_back({.ratio = ratio});
    for (size_t i = 0; i < windows.size(); ++i) {
      measure.window(windows[i], windows[others[i]], out.back());
    }
    out.back().continuation.none = out.front().continuation.none;
    out.back().continuation.raw = out.front().continuation.raw;
    out.back().recall.none = out.front().recall.none;
    out.back().recall.raw = out.front().recall.raw;
  }
  return out;
}

}  // namespace offbook::compress
