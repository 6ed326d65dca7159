#include "src/compress/beacon/training.h"

#include <algorithm>
#include <numeric>

#include "src/compress/beacon/window_memory.h"
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

namespace {

// A window's texts behind its memory: the continuation, then what it recalls.
struct WindowTexts {
  std::vector<std::vector<int32_t>> recalled;  // tokens that tasks borrow
  float weight = 0;                            // of a recall loss
};

}  // namespace

train::LossSum beacon_window_losses(const Graph& g, const model::Llama& base,
                                    const BeaconWeights& weights,
                                    std::span<const BeaconWindow> windows,
                                    const BeaconTrainingOptions& options) {
  const WindowMemories memories = write_windows(g, base, weights, windows,
                                                {.lora = &weights.lora,
                                                 .checkpointing = options.checkpointing,
                                                 .activations = options.activations});
  const RecallOptions& recall = options.recall;
  std::vector<WindowTexts> own(windows.size());
  std::vector<ReadTask> tasks;
  std::vector<TargetText> texts;
  for (size_t i = 0; i < windows.size(); ++i) {
    const BeaconWindow& window = windows[i];
    const Tokens all(window.tokens);
    const auto context = static_cast<size_t>(sum_of(window.layout));
    const double recall_targets =
        static_cast<double>(window.recalls.size()) * (recall.length - recall.cue - 1);
    // The recall losses' mean counts as `weight` times the continuation's mean.
    const double continued = static_cast<double>(window.tokens.size() - context - 1);
    own[i].weight = window.recalls.empty()
                        ? 0.0f
                        : static_cast<float>(recall.weight * continued / recall_targets);
    for (const int32_t begin : window.recalls) {
      own[i].recalled.push_back(recall_text(all.first(context), begin, recall));
    }
    tasks.push_back({all.subspan(context), memories.ranges[i]});
    texts.push_back({.tokens = tasks.back().tokens});
    for (const std::vector<int32_t>& text : own[i].recalled) {
      tasks.push_back({text, memories.ranges[i]});
      texts.push_back({.tokens = text, .first_target = recall.cue + 1, .weight = own[i].weight});
    }
  }
  const Tensor hidden = read_tasks(
      g, base, memories.kv, tasks,
      {.pass = {.checkpointing = options.checkpointing}, .activations = options.activations});
  const auto losses = score_texts(g, hidden, base.weights().lm_head, texts);
  train::LossSum out;
  size_t at = 0;
  for (const WindowTexts& window : own) {
    out.sum += losses[at].sum;
    out.count += losses[at].count;
    ++at;
    for (size_t i = 0; i < window.recalled.size(); ++i) {
      out.sum += window.weight * losses[at++].sum;
    }
  }
  return out;
}

train::LossSum beacon_window_loss(const Graph& g, const model::Llama& base,
                                  const BeaconWeights& weights, const BeaconWindow& window,
                                  const BeaconTrainingOptions& options) {
  return beacon_window_losses(g, base, weights, std::span(&window, 1), options);
}

BeaconWindow BeaconTask::draw(Random& random) const {
  BeaconWindow window{.layout = options_.layouts[random.below(options_.layouts.size())]};
  window.ratio = weights_.ratios[choose(options_.ratio_shares, random)];
  window.is_behind_prior =
      window.layout.size() > 1 && random.uniform() < options_.behind_prior_share;
  const int64_t context = sum_of(window.layout);
  window.tokens = training_.draw(random, context + options_.continuation);
  window.recalls = recall_places(context, options_.recall, random);
  return window;
}

train::LossSum BeaconTask::run(const Graph& g, std::span<const BeaconWindow> windows) {
  train::LossSum total;
  const auto most = static_cast<size_t>(std::max(1, options_.at_once));
  for (size_t i = 0; i < windows.size(); i += most) {
    const autograd::GraphScope scope(g);
    const train::LossSum part = beacon_window_losses(
        g, base_, weights_, windows.subspan(i, std::min(most, windows.size() - i)), options_);
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

train::LossSum BeaconTask::micro_batches(const Graph& g, std::span<const uint64_t> seeds) {
  std::vector<BeaconWindow> windows;
  for (const uint64_t seed : seeds) {
    Random random(seed);
    for (int32_t i = 0; i < options_.windows; ++i) {
      windows.push_back(draw(random));
    }
  }
  return run(g, windows);
}

train::LossSum BeaconTask::micro_batch(const Graph& g, uint64_t seed) {
  return micro_batches(g, std::span(&seed, 1));
}

std::optional<train::LossSum> BeaconTask::evaluate(const Graph& g) {
  if (held_out_.empty()) {
    return std::nullopt;
  }
  const int64_t context = sum_of(options_.layouts.front());
  std::vector<BeaconWindow> windows;
  for (size_t i = 0; i < held_out_.size(); ++i) {
    Random random(i);
    const auto begin = held_out_[i].tokens.begin();
    windows.push_back({.tokens = {begin, begin + context + options_.continuation},
                       .layout = options_.layouts.front(),
                       .ratio = weights_.ratios[i % weights_.ratios.size()],
                       .recalls = recall_places(context, options_.recall, random)});
  }
  return run(g, windows);
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
    const WrittenSlots slots = write_slots(
        g, base_, weights_, segments, {.lora = &weights_.lora, .activations = ctx_.activations()});
    // No memory: the base's own sink alone (its row does not depend on the token behind it).
    const BeaconSegment first{.tokens = context.first(1)};
    const WrittenSlots plain =
        write_raw(g, base_, std::span(&first, 1), {.activations = ctx_.activations()});
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
    const Tensor hidden =
        read_tasks(g, base_, slots.kv, std::span(&task, 1), {.activations = ctx_.activations()});
    const TargetText text{
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
