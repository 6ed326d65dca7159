#include "src/compress/beacon/reading_figures.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "src/base/random.h"
#include "src/metrics/text_scores.h"
#include "src/text/tokenizer.h"

namespace offbook::compress {
namespace {

using Windows = std::vector<TrainingText::Window>;

// What a loss goes to.
struct Entry {
  MemoryLosses* losses = nullptr;
  metrics::DomainLoss MemoryLosses::*condition = nullptr;
  const std::string* group = nullptr;
};

// The readings of some windows with where their losses go.
struct Sheet {
  ReadingBatch batch;
  std::vector<Entry> entries;

  int32_t source(std::vector<int32_t> tokens, int32_t ratio) {
    batch.sources.push_back({.tokens = std::move(tokens), .ratio = ratio});
    return static_cast<int32_t>(batch.sources.size()) - 1;
  }
  int32_t memory(std::initializer_list<int32_t> sources) {
    Memory memory;
    for (const int32_t s : sources) {
      memory.pieces.push_back(batch.all_of(s, memory.pieces.empty()));
    }
    batch.memories.push_back(std::move(memory));
    return static_cast<int32_t>(batch.memories.size()) - 1;
  }
  int32_t sink_of(int32_t source) {
    batch.memories.push_back({{{source, {0}}}});
    return static_cast<int32_t>(batch.memories.size()) - 1;
  }
};

std::vector<int32_t> joined(std::initializer_list<std::span<const int32_t>> parts) {
  std::vector<int32_t> out;
  for (const auto part : parts) {
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

class Measure {
 public:
  Measure(const backend::ExecutionContext& ctx, const ReadingModel& model, const Windows& windows,
          const FigureOptions& options)
      : ctx_(ctx),
        model_(model),
        windows_(windows),
        options_(options),
        others_(other_documents(windows)) {}

  ReadingFigures at(int32_t ratio) {
    ReadingFigures out{.ratio = ratio};
    const size_t step = std::max<size_t>(1, options_.windows_at_once);
    for (size_t first = 0; first < windows_.size(); first += step) {
      Sheet sheet;
      for (size_t i = first; i < std::min(first + step, windows_.size()); ++i) {
        lay_out(i, ratio, sheet, out);
      }
      backend::ArenaScope scope(*ctx_.arena);
      const auto losses = read_batch({ctx_}, model_, sheet.batch);
      for (size_t i = 0; i < losses.size(); ++i) {
        const Entry& e = sheet.entries[i];
        (e.losses->*e.condition).add(*e.group, losses[i].mean());
      }
    }
    out.windows = static_cast<int64_t>(windows_.size());
    return out;
  }

 private:
  std::span<const int32_t> context(size_t window) const {
    return std::span(windows_[window].tokens).first(static_cast<size_t>(options_.context));
  }

  // Some text of neither the window's document nor its partner's.
  size_t third(size_t window) const {
    for (size_t step = 1; step < windows_.size(); ++step) {
      const size_t i = (window + step) % windows_.size();
      if (windows_[i].document != windows_[window].document &&
          windows_[i].document != windows_[others_[window]].document) {
        return i;
      }
    }
    return others_[window];
  }

  void lay_out(size_t w, int32_t ratio, Sheet& sheet, ReadingFigures& out) const {
    const std::vector<int32_t> text = joined({context(w)});
    const int32_t right = sheet.source(text, ratio);
    const int32_t other = sheet.source(joined({context(others_[w])}), ratio);
    const int32_t between = sheet.source(joined({context(third(w))}), ratio);
    const int32_t raw = sheet.source(text, 0);
    const int32_t none_memory = sheet.sink_of(raw);
    const int32_t raw_memory = sheet.memory({raw});
    const int32_t right_memory = sheet.memory({right});
    const int32_t other_memory = sheet.memory({other});
    const auto lead =
        std::span(windows_[third(w)].tokens)
            .subspan(static_cast<size_t>(options_.context),
                     static_cast<size_t>(std::min(options_.raw_between, options_.continuation)));
    const auto add = [&](int32_t memory, std::vector<int32_t> tokens, size_t asked, int32_t skip,
                         Entry entry) {
      const auto first = static_cast<int32_t>(tokens.size() - asked) + skip;
      sheet.batch.readings.push_back(
          {.memory = memory, .tokens = std::move(tokens), .first_target = first});
      entry.group = &windows_[w].group;
      sheet.entries.push_back(entry);
    };
    const auto all = [&](std::span<const int32_t> asked, int32_t skip, MemoryLosses& to) {
      const auto n = asked.size();
      add(none_memory, joined({asked}), n, skip, {&to, &MemoryLosses::none, nullptr});
      add(raw_memory, joined({asked}), n, skip, {&to, &MemoryLosses::raw, nullptr});
      add(right_memory, joined({asked}), n, skip, {&to, &MemoryLosses::right, nullptr});
      add(other_memory, joined({asked}), n, skip, {&to, &MemoryLosses::other, nullptr});
      add(other_memory, joined({text, asked}), n, skip,
          {&to, &MemoryLosses::other_then_raw, nullptr});
    };
    const auto next = std::span(windows_[w].tokens)
                          .subspan(static_cast<size_t>(options_.context),
                                   static_cast<size_t>(options_.continuation));
    all(next, 1, out.continuation);
    const std::vector<int32_t> span = recalled(w);
    const int32_t skip = options_.recall_cue + 1;
    all(span, skip, out.recall);
    const auto n = span.size();
    MemoryLosses& far = out.recall_behind_raw;
    add(right_memory, joined({lead, span}), n, skip, {&far, &MemoryLosses::right, nullptr});
    add(other_memory, joined({lead, span}), n, skip, {&far, &MemoryLosses::other, nullptr});
    add(other_memory, joined({text, lead, span}), n, skip,
        {&far, &MemoryLosses::other_then_raw, nullptr});
    MemoryLosses& behind = out.recall_behind_slots;
    add(sheet.memory({right, between}), span, n, skip, {&behind, &MemoryLosses::right, nullptr});
    const int32_t wrong = sheet.memory({other, between});
    add(wrong, span, n, skip, {&behind, &MemoryLosses::other, nullptr});
    add(wrong, joined({text, span}), n, skip, {&behind, &MemoryLosses::other_then_raw, nullptr});
  }

  // The announcing token and a span of the context.
  std::vector<int32_t> recalled(size_t window) const {
    Random random(options_.seed + window);
    const int32_t length = std::min(options_.recall_length, options_.context) - 1;
    const auto begin =
        static_cast<size_t>(random.below(static_cast<uint64_t>(options_.context - length) + 1));
    std::vector<int32_t> out{options_.recall_token};
    const auto span = context(window).subspan(begin, static_cast<size_t>(length));
    out.insert(out.end(), span.begin(), span.end());
    return out;
  }

  const backend::ExecutionContext& ctx_;
  const ReadingModel& model_;
  const Windows& windows_;
  const FigureOptions& options_;
  std::vector<size_t> others_;
};

nlohmann::json one(const MemoryLosses& losses, bool has_plain) {
  nlohmann::json out{{"right", losses.right.mean()},
                     {"other", losses.other.mean()},
                     {"other_then_raw", losses.other_then_raw.mean()},
                     {"document_share", losses.document_share()}};
  if (has_plain) {
    out["none"] = losses.none.mean();
    out["raw"] = losses.raw.mean();
    out["gap"] = losses.gap();
    out["gap_of_other"] = metrics::gap_recovered(
        {.none = losses.none.mean(), .compressed = losses.other.mean(), .raw = losses.raw.mean()});
  }
  return out;
}

}  // namespace

std::vector<ReadingFigures> measure_reading(const backend::ExecutionContext& ctx,
                                            const ReadingModel& model, const Windows& windows,
                                            const FigureOptions& options) {
  for (const TrainingText::Window& window : windows) {
    OB_REQUIRE(static_cast<int64_t>(window.tokens.size()) >= options.context + options.continuation,
               InvalidArgument, "a held-out window of {} tokens where {} are read",
               window.tokens.size(), options.context + options.continuation);
  }
  Measure measure(ctx, model, windows, options);
  std::vector<ReadingFigures> out;
  for (const int32_t ratio : options.ratios) {
    out.push_back(measure.at(ratio));
  }
  return out;
}

nlohmann::json to_json(const std::vector<ReadingFigures>& figures) {
  nlohmann::json out = nlohmann::json::object();
  for (const ReadingFigures& f : figures) {
    out[std::to_string(f.ratio)] = {{"windows", f.windows},
                                    {"continuation", one(f.continuation, true)},
                                    {"recall", one(f.recall, true)},
                                    {"recall_behind_raw", one(f.recall_behind_raw, false)},
                                    {"recall_behind_slots", one(f.recall_behind_slots, false)}};
  }
  return out;
}

namespace {

struct Asked {
  const TrainingDocument* document = nullptr;
  std::vector<const TrainingExample*> examples;
};

std::vector<Asked> asked_of(const TrainingSet& set, const QuestionOptions& options) {
  std::vector<Asked> out;
  for (const TrainingDocument& d : set.documents) {
    if (out.size() == options.documents) {
      break;
    }
    std::vector<const TrainingExample*> given;
    for (const TrainingExample& e : d.examples) {
      if (e.kind == ExampleKind::given && e.evidence_end <= options.longest_context) {
        given.push_back(&e);
      }
    }
    if (given.empty()) {
      continue;
    }
    out.push_back({.document = &d});
    const size_t wanted = std::min(options.questions, given.size());
    for (size_t i = 0; i < wanted; ++i) {  // spread over the document
      out.back().examples.push_back(given[i * given.size() / wanted]);
    }
  }
  return out;
}

// The memory of a document: ratio 0 raw text, −1 nothing but the sink.
Memory memory_of(const TrainingDocument& d, int32_t ratio, const QuestionOptions& options,
                 ReadingBatch& batch) {
  Memory memory;
  const auto size = std::min(static_cast<int32_t>(d.tokens.size()), options.longest_context);
  const int32_t segment = ratio > 0 ? options.segment : size;
  for (int32_t at = 0; at < size; at += segment) {
    const auto source = static_cast<int32_t>(batch.sources.size());
    batch.sources.push_back(
        {.tokens = {d.tokens.begin() + at, d.tokens.begin() + std::min(at + segment, size)},
         .ratio = std::max(0, ratio)});
    memory.pieces.push_back(ratio < 0 ? MemoryPiece{source, {0}}
                                      : batch.all_of(source, memory.pieces.empty()));
    if (ratio < 0) {
      break;
    }
  }
  return memory;
}

// Scores stretches of a text by the question's tokens they hold, rare ones more (idf over the
// stretches): retrieval as plain as it can be, for comparison.
std::vector<size_t> best_stretches(const std::vector<std::span<const int32_t>>& stretches,
                                   std::span<const int32_t> question) {
  std::map<int32_t, std::set<size_t>> holding;
  for (size_t i = 0; i < stretches.size(); ++i) {
    for (const int32_t token : stretches[i]) {
      holding[token].insert(i);
    }
  }
  std::vector<double> scores(stretches.size());
  for (const int32_t token : std::set<int32_t>(question.begin(), question.end())) {
    const auto found = holding.find(token);
    if (found == holding.end()) {
      continue;
    }
    const double idf =
        std::log(static_cast<double>(stretches.size()) / static_cast<double>(found->second.size()));
    for (const size_t i : found->second) {
      scores[i] += idf;
    }
  }
  std::vector<size_t> order(stretches.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

// Raw text of as many tokens as a document's slots at `ratio` are, the stretches that fit the
// question best, the best last.
Memory retrieved_memory(const TrainingDocument& d, const TrainingExample& e, int32_t ratio,
                        const QuestionOptions& options, ReadingBatch& batch) {
  constexpr size_t kStretch = 48;
  const auto size =
      static_cast<size_t>(std::min(static_cast<int32_t>(d.tokens.size()), options.longest_context));
  std::vector<std::span<const int32_t>> stretches;
  for (size_t at = 0; at < size; at += kStretch) {
    stretches.push_back(std::span(d.tokens).subspan(at, std::min(kStretch, size - at)));
  }
  size_t left = size / static_cast<size_t>(ratio);
  std::vector<size_t> taken;
  for (const size_t i : best_stretches(stretches, e.question)) {
    if (stretches[i].size() > left && !taken.empty()) {
      break;
    }
    left -= std::min(left, stretches[i].size());
    taken.push_back(i);
  }
  std::vector<int32_t> text;
  for (auto i = taken.rbegin(); i != taken.rend(); ++i) {
    text.insert(text.end(), stretches[*i].begin(), stretches[*i].end());
  }
  batch.sources.push_back({.tokens = std::move(text), .ratio = 0});
  return {{batch.all_of(static_cast<int32_t>(batch.sources.size()) - 1, true)}};
}

double kept_of(const Memory& memory) {
  double rows = -1;  // the sink
  for (const MemoryPiece& piece : memory.pieces) {
    rows += static_cast<double>(piece.rows.size());
  }
  return rows;
}

// What a row of questions is read behind.
struct MemoryKind {
  int32_t ratio = 0;          // of slots; 0: the text, −1: nothing
  size_t shift = 0;           // whose: of the document that many further on
  bool is_retrieved = false;  // in place of slots the text that fits the question
};

QuestionFigures ask(const backend::ExecutionContext& ctx, const ReadingModel& model,
                    const text::Tokenizer& tokenizer, const std::vector<Asked>& asked,
                    const MemoryKind& kind, const QuestionOptions& options) {
  constexpr int32_t kAnswerTokens = 32;
  QuestionFigures out;
  const size_t step = std::max<size_t>(1, options.documents_at_once);
  for (size_t first = 0; first < asked.size(); first += step) {
    backend::ArenaScope scope(*ctx.arena);
    const size_t end = std::min(first + step, asked.size());
    ReadingBatch batch;
    ReadingBatch scored;
    std::vector<const TrainingExample*> examples;
    for (size_t i = first; i < end; ++i) {
      const TrainingDocument& of = *asked[(i + kind.shift) % asked.size()].document;
      if (!kind.is_retrieved) {
        batch.memories.push_back(memory_of(of, kind.ratio, options, batch));
        out.kept_tokens += kept_of(batch.memories.back());
      }
      for (const TrainingExample* e : asked[i].examples) {
        if (kind.is_retrieved) {
          batch.memories.push_back(retrieved_memory(of, *e, kind.ratio, options, batch));
          out.kept_tokens +=
              kept_of(batch.memories.back()) / static_cast<double>(asked[i].examples.size());
        }
        Reading r{.memory = static_cast<int32_t>(batch.memories.size()) - 1,
                  .tokens = e->question,
                  .first_target = static_cast<int32_t>(e->question.size())};
        batch.readings.push_back(r);
        r.tokens.insert(r.tokens.end(), e->answer.begin(), e->answer.end());
        scored.readings.push_back(std::move(r));
        examples.push_back(e);
      }
      ++out.documents;
    }
    scored.sources = batch.sources;
    scored.memories = batch.memories;
    train::LossSum sum;
    for (const train::LossSum& part : read_batch({ctx}, model, scored)) {
      sum.sum += part.sum;
      sum.count += part.count;
    }
    out.loss += sum.sum;
    out.answer_tokens += sum.count;
    const std::vector<int32_t> stops{examples.front()->answer.back()};
    const auto answers = greedy_answers(ctx, model, batch, kAnswerTokens, stops);
    for (size_t q = 0; q < answers.size(); ++q) {
      const auto wanted = std::span(examples[q]->answer).first(examples[q]->answer.size() - 1);
      out.f1 +=
          metrics::token_f1(text::decode(tokenizer, answers[q]), text::decode(tokenizer, wanted));
      ++out.questions;
    }
  }
  out.loss /= std::max(1.0, out.answer_tokens);
  out.kept_tokens /= std::max<double>(1, static_cast<double>(out.documents));
  out.f1 *= 100 / std::max<double>(1, static_cast<double>(out.questions));
  return out;
}

}  // namespace

std::string retrieved_row(int32_t ratio) {
  return fmt::format("retrieved text of as many tokens as {}x", ratio);
}

std::vector<QuestionFigures> measure_questions(const backend::ExecutionContext& ctx,
                                               const ReadingModel& model,
                                               const text::Tokenizer& tokenizer,
                                               const TrainingSet& set,
                                               const QuestionOptions& options) {
  const std::vector<Asked> asked = asked_of(set, options);
  std::vector<QuestionFigures> out;
  if (asked.size() < 2) {
    return out;
  }
  const auto row = [&](std::string name, const MemoryKind& kind) {
    out.push_back(ask(ctx, model, tokenizer, asked, kind, options));
    out.back().memory = std::move(name);
  };
  row("none", {.ratio = -1});
  for (const int32_t ratio : options.ratios) {
    row(fmt::format("{}x", ratio), {.ratio = ratio});
    row(fmt::format("{}x of another document", ratio), {.ratio = ratio, .shift = 1});
    row(retrieved_row(ratio), {.ratio = ratio, .is_retrieved = true});
  }
  if (options.has_raw) {
    row("raw", {});
  }
  return out;
}

nlohmann::json to_json(const std::vector<QuestionFigures>& figures) {
  nlohmann::json out = nlohmann::json::object();
  for (const QuestionFigures& f : figures) {
    out[f.memory] = {{"documents", f.documents},
                     {"questions", f.questions},
                     {"kept_tokens", f.kept_tokens},
                     {"loss", f.loss},
                     {"f1", f.f1}};
  }
  return out;
}

}  // namespace offbook::compress
