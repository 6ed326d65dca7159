#include "src/compress/autocompressor/training.h"

#include <algorithm>
#include <optional>
#include <set>

#include "src/compress/text_losses.h"
#include "src/ops/registry.h"
#include "src/train/lora_task.h"

namespace offbook::compress {
namespace {

using Tokens = std::span<const int32_t>;

// The same numbers outside of the tape: no gradient passes.
Tensor detached(const Graph& g, const Tensor& t) {
  const Tensor out = g.ctx.make(t.dtype(), t.shape());
  ops::copy(g.ctx, {.x = t, .out = out});
  return out;
}

Tensor joined(const Graph& g, const Tensor& a, const Tensor& b) {
  return a.defined() ? autograd::concat_rows(g, a, b) : b;
}

Tensor carried(const Graph& g, Carry carry, const Tensor& before, const Tensor& vectors) {
  return carry == Carry::accumulate ? joined(g, before, vectors) : vectors;
}

std::vector<int32_t> equal_segments(int32_t tokens, int32_t count) {
  std::vector<int32_t> out;
  for (int32_t i = 0; i < count; ++i) {
    out.push_back(
        static_cast<int32_t>(int64_t{tokens} * (i + 1) / count - int64_t{tokens} * i / count));
  }
  return out;
}

void check(const AutoTrainingOptions& o, const AutoWeights& weights,
           const model::ModelConfig& config) {
  OB_REQUIRE(o.slices >= 1 && o.segments_per_slice >= 1 && o.slices * o.segments_per_slice >= 2,
             InvalidArgument, "training needs two segments or more, not {} slices of {}", o.slices,
             o.segments_per_slice);
  OB_REQUIRE(o.sequence % o.slices == 0 && o.sequence / o.slices >= 2 * o.segments_per_slice,
             InvalidArgument, "a sequence of {} tokens in {} slices of {} segments", o.sequence,
             o.slices, o.segments_per_slice);
  const int64_t summaries = weights.summary.dim(0) * o.slices * o.segments_per_slice;
  const int32_t longest = std::min(o.longest_segment, o.sequence / o.slices);
  OB_REQUIRE(o.longest_segment * o.segments_per_slice >= o.sequence / o.slices, InvalidArgument,
             "slices of {} tokens in {} segments of at most {}", o.sequence / o.slices,
             o.segments_per_slice, o.longest_segment);
  OB_REQUIRE(1 + longest + summaries <= config.max_positions, InvalidArgument,
             "segments of {} tokens with {} vectors do not fit the model's window of {}", longest,
             summaries, config.max_positions);
}

}  // namespace

std::vector<int32_t> random_segments(Random& random, int32_t tokens, int32_t count,
                                     int32_t longest) {
  if (count == 1) {
    return {tokens};
  }
  const int32_t least = std::max((tokens - longest + count - 2) / (count - 1), 2);
  const int32_t spare = tokens - count * least;
  OB_REQUIRE(spare >= 0, InvalidArgument, "{} tokens in {} segments of {} to {}", tokens, count,
             least, longest);
  std::set<int32_t> breaks;
  // Where there are fewer places than breakpoints some segments share one: equal parts then.
  if (spare + 1 < count - 1) {
    return equal_segments(tokens, count);
  }
  while (breaks.size() < static_cast<size_t>(count - 1)) {
    breaks.insert(static_cast<int32_t>(random.below(static_cast<uint64_t>(spare) + 1)));
  }
  std::vector<int32_t> out;
  int32_t before = 0;
  for (const int32_t at : breaks) {
    out.push_back(least + at - before);
    before = at;
  }
  out.push_back(least + spare - before);
  return out;
}

AutoTask::AutoTask(const backend::ExecutionContext& ctx, const model::Llama& base,
                   AutoWeights& weights, const TrainingText& training,
                   std::vector<TrainingText::Window> held_out, const AutoTrainingOptions& options)
    : base_(base),
      weights_(weights),
      training_(training),
      held_out_(std::move(held_out)),
      options_(options),
      parameters_(train::lora_parameters(ctx, weights.lora)) {
  check(options_, weights_, base_.config());
  OB_REQUIRE(training_.tokens() >= options_.sequence, InvalidArgument,
             "{} tokens of training text for sequences of {}", training_.tokens(),
             options_.sequence);
  for (const TrainingText::Window& window : held_out_) {
    OB_REQUIRE(static_cast<int32_t>(window.tokens.size()) >= options_.sequence, InvalidArgument,
               "a held-out window of {} tokens where {} are read", window.tokens.size(),
               options_.sequence);
  }
  each_learned(weights_, [&](const char* name, Tensor& tensor) {
    parameters_.push_back(train::make_parameter(ctx, name, tensor));
  });
}

// A text on its way through its segments.
struct AutoTask::Sequence {
  Tokens tokens;
  std::optional<Random> cuts;  // none: equal segments
  Tensor before = {};          // vectors that the next segment reads
};

// All texts' first segments in one pass, then all second ones.
train::LossSum AutoTask::run(const Graph& g, std::span<Sequence> texts) {
  train::LossSum total;
  const int32_t length = options_.sequence / options_.slices;
  const auto table = static_cast<int32_t>(weights_.summary.dim(0));
  for (int32_t slice = 0; slice < options_.slices; ++slice) {
    std::vector<std::vector<int32_t>> lengths;
    for (Sequence& t : texts) {
      lengths.push_back(t.cuts ? random_segments(*t.cuts, length, options_.segments_per_slice,
                                                 options_.longest_segment)
                               : equal_segments(length, options_.segments_per_slice));
    }
    std::vector<Tensor> hidden(texts.size());
    std::vector<size_t> at(texts.size(), static_cast<size_t>(slice * length));
    for (size_t i = 0; i < lengths.front().size(); ++i) {
      const bool is_last = slice + 1 == options_.slices && i + 1 == lengths.front().size();
      std::vector<AutoSegment> segments;
      for (size_t t = 0; t < texts.size(); ++t) {
        const auto count = static_cast<size_t>(lengths[t][i]);
        segments.push_back({.before = texts[t].before,
                            .tokens = texts[t].tokens.subspan(at[t], count),
                            .summary = is_last ? 0 : table});
        at[t] += count;
      }
      const std::vector<AutoOutput> out = run_segments(g, base_, weights_, segments,
                                                       {.lora = &weights_.lora,
                                                        .checkpointing = options_.checkpointing,
                                                        .activations = options_.activations});
      for (size_t t = 0; t < texts.size(); ++t) {
        hidden[t] = joined(g, hidden[t], out[t].text);
        if (!is_last) {
          texts[t].before = carried(g, weights_.carry, texts[t].before, out[t].vectors);
        }
      }
    }
    for (size_t t = 0; t < texts.size(); ++t) {
      // A segment's first token is predicted from the last text token before it, as published.
      const TargetText scored{.tokens = texts[t].tokens.subspan(static_cast<size_t>(slice * length),
                                                                static_cast<size_t>(length))};
      const train::LossSum part =
          score_texts(g, hidden[t], base_.weights().lm_head, std::span(&scored, 1)).front();
      total.sum += part.sum;
      total.count += part.count;
      if (texts[t].before.defined() && slice + 1 < options_.slices) {
        texts[t].before = detached(g, texts[t].before);
      }
    }
  }
  return total;
}

train::LossSum AutoTask::micro_batch(const Graph& g, uint64_t seed) {
  return micro_batches(g, std::span(&seed, 1));
}

train::LossSum AutoTask::micro_batches(const Graph& g, std::span<const uint64_t> seeds) {
  std::vector<std::vector<int32_t>> drawn;
  std::vector<Sequence> texts;
  drawn.reserve(seeds.size());  // texts point into it
  for (const uint64_t seed : seeds) {
    Random random(seed);
    drawn.push_back(training_.draw(random, options_.sequence));
    texts.push_back({.tokens = drawn.back(), .cuts = random});
  }
  return run(g, texts);
}

std::optional<train::LossSum> AutoTask::evaluate(const Graph& g) {
  if (held_out_.empty()) {
    return std::nullopt;
  }
  train::LossSum total;
  for (const TrainingText::Window& window : held_out_) {
    backend::ArenaScope scope(*g.ctx.arena);
    Sequence text{.tokens = Tokens(window.tokens).first(static_cast<size_t>(options_.sequence))};
    const train::LossSum part = run(g, std::span(&text, 1));
    total.sum += part.sum;
    total.count += part.count;
  }
  return total;
}

namespace {

class Measure {
 public:
  Measure(const backend::ExecutionContext& ctx, const model::Llama& base,
          const AutoWeights& weights, const AutoMeasureOptions& options)
      : ctx_(ctx), base_(base), weights_(weights), options_(options) {}

  void window(const TrainingText::Window& window, const TrainingText::Window& other,
              MemoryFigures& to) const {
    backend::ArenaScope scope(*ctx_.arena);
    const Tokens context = Tokens(window.tokens).first(static_cast<size_t>(options_.context));
    const Tokens text = Tokens(window.tokens)
                            .subspan(static_cast<size_t>(options_.context),
                                     static_cast<size_t>(options_.continuation));
    const Tensor right = memory(context);
    const Tensor wrong = memory(Tokens(other.tokens).first(static_cast<size_t>(options_.context)));
    to.continuation.none.add(window.group, loss({}, {}, text));
    to.continuation.raw.add(window.group, loss({}, context, text));
    to.continuation.right.add(window.group, loss(right, {}, text));
    to.continuation.other.add(window.group, loss(wrong, {}, text));
    to.continuation.other_then_raw.add(window.group, loss(wrong, context, text));
    ++to.windows;
  }

 private:
  Tensor memory(Tokens context) const {
    const Graph g{ctx_};
    const auto part = static_cast<size_t>(weights_.summary.dim(0) * options_.ratio);
    Tensor before;
    for (size_t at = 0; at < context.size(); at += part) {
      const Tokens tokens = context.subspan(at, std::min(part, context.size() - at));
      const AutoSegment segment{
          .before = before,
          .tokens = tokens,
          .summary = (static_cast<int32_t>(tokens.size()) + options_.ratio - 1) / options_.ratio};
      const AutoOutput out =
          run_segments(g, base_, weights_, std::span(&segment, 1),
                       {.lora = &weights_.lora, .activations = ctx_.activations()})
              .front();
      before = carried(g, weights_.carry, before, out.vectors);
    }
    return before;
  }

  double loss(const Tensor& before, Tokens lead, Tokens text) const {
    backend::ArenaScope scope(*ctx_.arena);
    const Graph g{ctx_};
    std::vector<int32_t> tokens(lead.begin(), lead.end());
    tokens.insert(tokens.end(), text.begin(), text.end());
    const AutoSegment segment{.before = before, .tokens = tokens};
    const Tensor hidden = run_segments(g, base_, weights_, std::span(&segment, 1),
                                       {.lora = &weights_.lora, .activations = ctx_.activations()})
                              .front()
                              .text;
    const TargetText scored{.tokens = tokens,
                            .first_target = static_cast<int32_t>(lead.size()) + 1};
    return score_texts(g, hidden, base_.weights().lm_head, std::span(&scored, 1)).front().mean();
  }

  const backend::ExecutionContext& ctx_;
  const model::Llama& base_;
  const AutoWeights& weights_;
  const AutoMeasureOptions& options_;
};

}  // namespace

MemoryFigures measure_autocompressor(const backend::ExecutionContext& ctx, const model::Llama& base,
                                     const AutoWeights& weights,
                                     const std::vector<TrainingText::Window>& windows,
                                     const AutoMeasureOptions& options) {
  OB_REQUIRE(options.ratio >= 1 && options.context >= 1 && options.continuation >= 2,
             InvalidArgument,
             "measuring at {} tokens a vector, {} of context and {} of continuation", options.ratio,
             options.context, options.continuation);
  for (const TrainingText::Window& window : windows) {
    OB_REQUIRE(static_cast<int64_t>(window.tokens.size()) >= options.context + options.continuation,
               InvalidArgument, "a held-out window of {} tokens where {} are read",
               window.tokens.size(), options.context + options.continuation);
  }
  const std::vector<size_t> others = other_documents(windows);
  const Measure measure(ctx, base, weights, options);
  MemoryFigures out{.ratio = options.ratio};
  for (size_t i = 0; i < windows.size(); ++i) {
    measure.window(windows[i], windows[others[i]], out);
  }
  return out;
}

}  // namespace offbook::compress
