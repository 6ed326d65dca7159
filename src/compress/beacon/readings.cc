#include "src/compress/beacon/readings.h"

#include <algorithm>
#include <numeric>

#include "src/autograd/functional.h"
#include "src/backend/transfer.h"
#include "src/ops/registry.h"
#include "src/store/kv_quantise.h"

namespace offbook::compress {
namespace {

// Where the rows of every source stand among all rows: those of slots first, then raw ones.
struct Rows {
  model::LayerKv kv;
  std::vector<int32_t> begin;  // of each source
};

model::LayerKv joined(const Graph& g, const model::LayerKv& a, const model::LayerKv& b) {
  if (a.k.empty() || b.k.empty()) {
    return a.k.empty() ? b : a;
  }
  model::LayerKv out;
  for (size_t layer = 0; layer < a.k.size(); ++layer) {
    out.k.push_back(autograd::concat_rows(g, a.k[layer], b.k[layer]));
    out.v.push_back(autograd::concat_rows(g, a.v[layer], b.v[layer]));
  }
  return out;
}

// Slots of one source, rounded in place to what a file of `bits` a value holds of them.
void round_slots(const backend::ExecutionContext& ctx, const model::LayerKv& kv, SlotRange range,
                 int bits) {
  const Tensor& first = kv.k.front();
  const auto layers = static_cast<int64_t>(kv.k.size());
  const Tensor whole =
      Tensor::empty(first.dtype(), {layers, 2, range.count, first.dim(1), first.dim(2)});
  const auto bytes = static_cast<size_t>(whole.bytes() / (2 * layers));
  const auto each = [&](const Tensor& host, const auto& move) {
    for (size_t i = 0; i < 2 * kv.k.size(); ++i) {
      const Tensor& rows = (i % 2 == 0 ? kv.k : kv.v)[i / 2];
      move(rows.slice(0, range.begin, range.begin + range.count),
           std::span(host.raw() + i * bytes, bytes));
    }
  };
  each(whole,
       [&](const Tensor& rows, std::span<std::byte> to) { backend::download(ctx, rows, to); });
  const Tensor rounded = store::dequantise_kv(store::quantise_kv(whole, bits), whole.dtype());
  each(rounded,
       [&](const Tensor& rows, std::span<std::byte> from) { backend::upload(ctx, from, rows); });
}

Rows write_sources(const Graph& g, const ReadingModel& m, const ReadingBatch& batch) {
  std::vector<BeaconSegment> slots;
  std::vector<BeaconSegment> raw;
  for (const ReadingSource& s : batch.sources) {
    OB_REQUIRE(
        !s.tokens.empty() && s.ratio >= 0 && (s.ratio > 0 || s.tokens.size() > 1 || s.has_sink),
        InvalidArgument, "a source of {} tokens at ratio {}", s.tokens.size(), s.ratio);
    (s.ratio == 0 ? raw : slots)
        .push_back({.tokens = s.tokens, .ratio = std::max(1, s.ratio), .keeps_sink = s.has_sink});
  }
  WrittenSlots written;
  WrittenSlots read;
  if (!slots.empty()) {
    // Merged weights are not trained: nothing of this pass is kept for a gradient.
    written = write_slots(m.writer != nullptr ? Graph{g.ctx} : g,
                          m.writer != nullptr ? *m.writer : m.base, m.weights, slots,
                          {.lora = m.writer != nullptr ? nullptr : &m.weights.lora,
                           .checkpointing = m.checkpointing,
                           .activations = m.activations});
    for (const SlotRange& range : written.ranges) {
      if (m.kv_bits < 16) {
        OB_REQUIRE(g.tape == nullptr, InvalidArgument, "slots in {} bits are not trained",
                   m.kv_bits);
        round_slots(g.ctx, written.kv, range, m.kv_bits);
      }
    }
  }
  if (!raw.empty()) {
    read = write_raw(
        g, m.base, raw,
        {.lora = m.reader, .checkpointing = m.checkpointing, .activations = m.activations});
  }
  Rows out{.kv = joined(g, written.kv, read.kv)};
  const auto raw_begin = static_cast<int32_t>(written.kv.tokens());
  size_t slot = 0;
  size_t plain = 0;
  for (const ReadingSource& s : batch.sources) {
    out.begin.push_back(s.ratio == 0 ? raw_begin + read.ranges[plain++].begin
                                     : written.ranges[slot++].begin);
  }
  return out;
}

std::vector<ReadTask> tasks_of(const ReadingBatch& batch, const WrittenMemories& memories) {
  std::vector<ReadTask> tasks;
  for (const Reading& r : batch.readings) {
    tasks.push_back({r.tokens, memories.ranges.at(static_cast<size_t>(r.memory))});
  }
  return tasks;
}

// [targets, hidden] of the readings that have a teacher: what the base makes of the places that
// predict them, behind the teacher's text. Undefined where there is none.
Tensor teacher_rows(const backend::ExecutionContext& ctx, const ReadingModel& m,
                    const ReadingBatch& batch) {
  std::vector<std::vector<int32_t>> texts;
  std::vector<int32_t> rows;
  int32_t begin = 0;
  for (const Reading& r : batch.readings) {
    if (r.teacher_text.empty()) {
      continue;
    }
    texts.push_back(r.teacher_text);
    texts.back().insert(texts.back().end(), r.tokens.begin(), r.tokens.end());
    const auto size = static_cast<int32_t>(r.tokens.size());
    begin += static_cast<int32_t>(r.teacher_text.size());
    for (int32_t i = r.first_target; i < size; ++i) {
      rows.push_back(begin + i - 1);
    }
    begin += size;
  }
  if (texts.empty()) {
    return {};
  }
  const auto count = static_cast<int64_t>(rows.size());
  const Tensor out = ctx.make(m.activations, {count, m.base.config().hidden});
  backend::ArenaScope scope(*ctx.arena);
  const std::vector<ReadTask> tasks(texts.begin(), texts.end());
  const Tensor hidden = read_tasks(Graph{ctx}, m.base, {}, tasks, {.activations = m.activations});
  ops::gather_rows(ctx, {.x = hidden, .index = model::make_ints(ctx, rows, {count}), .out = out});
  return out;
}

}  // namespace

int32_t ReadingBatch::rows_of(int32_t source) const {
  const ReadingSource& s = sources.at(static_cast<size_t>(source));
  const auto tokens = static_cast<int32_t>(s.tokens.size());
  return (s.has_sink ? 1 : 0) + (s.ratio == 0 ? tokens : (tokens + s.ratio - 1) / s.ratio);
}

MemoryPiece ReadingBatch::all_of(int32_t source, bool with_sink) const {
  MemoryPiece out{.source = source};
  const bool skips = sources.at(static_cast<size_t>(source)).has_sink && !with_sink;
  for (int32_t row = skips ? 1 : 0; row < rows_of(source); ++row) {
    out.rows.push_back(row);
  }
  return out;
}

int64_t ReadingBatch::written_tokens() const {
  int64_t n = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    n += static_cast<int64_t>(sources[i].ratio == 0 ? 0 : sources[i].tokens.size()) +
         rows_of(static_cast<int32_t>(i));
  }
  return n;
}

int64_t ReadingBatch::read_tokens() const {
  return std::accumulate(
      readings.begin(), readings.end(), int64_t{0},
      [](int64_t n, const auto& r) { return n + static_cast<int64_t>(r.tokens.size()); });
}

WrittenMemories write_memories(const Graph& g, const ReadingModel& m, const ReadingBatch& batch) {
  const Rows rows = write_sources(g, m, batch);
  std::vector<int32_t> picked;
  WrittenMemories out;
  for (const Memory& memory : batch.memories) {
    const auto begin = static_cast<int32_t>(picked.size());
    for (const MemoryPiece& piece : memory.pieces) {
      const int32_t count = batch.rows_of(piece.source);
      for (const int32_t row : piece.rows) {
        OB_REQUIRE(row >= 0 && row < count, InvalidArgument, "row {} of a source of {}", row,
                   count);
        picked.push_back(rows.begin[static_cast<size_t>(piece.source)] + row);
      }
    }
    out.ranges.push_back({begin, static_cast<int32_t>(picked.size()) - begin});
  }
  const Tensor index = model::make_ints(g.ctx, picked, {static_cast<int64_t>(picked.size())});
  for (size_t layer = 0; layer < rows.kv.k.size(); ++layer) {
    out.kv.k.push_back(autograd::gather_rows(g, rows.kv.k[layer], index));
    out.kv.v.push_back(autograd::gather_rows(g, rows.kv.v[layer], index));
  }
  return out;
}

std::vector<train::LossSum> read_batch(const Graph& g, const ReadingModel& m,
                                       const ReadingBatch& batch) {
  const Tensor teacher = g.tape == nullptr ? Tensor() : teacher_rows(g.ctx, m, batch);
  const WrittenMemories memories = write_memories(g, m, batch);
  const std::vector<ReadTask> tasks = tasks_of(batch, memories);
  const Tensor hidden =
      read_tasks(g, m.base, memories.kv, tasks,
                 {.pass = {.adapters = {.one = m.reader}, .checkpointing = m.checkpointing},
                  .activations = m.activations});
  std::vector<TargetText> texts;
  for (const Reading& r : batch.readings) {
    texts.push_back({.tokens = r.tokens,
                     .first_target = r.first_target,
                     .weight = r.weight,
                     .first_weight = r.first_weight,
                     .teacher_share = r.teacher_text.empty() ? 0.0f : 1.0f});
  }
  return score_texts(g, hidden, m.base.weights().lm_head, texts, teacher);
}

std::vector<std::vector<int32_t>> greedy_answers(const backend::ExecutionContext& ctx,
                                                 const ReadingModel& m, const ReadingBatch& batch,
                                                 int32_t most, std::span<const int32_t> stops) {
  const Graph g{ctx};
  const WrittenMemories memories = write_memories(g, m, batch);
  std::vector<std::vector<int32_t>> texts;
  for (const Reading& r : batch.readings) {
    texts.push_back(r.tokens);
  }
  std::vector<size_t> open(texts.size());
  std::iota(open.begin(), open.end(), size_t{0});
  for (int32_t step = 0; step < most && !open.empty(); ++step) {
    backend::ArenaScope scope(*ctx.arena);
    std::vector<ReadTask> tasks;
    std::vector<int32_t> last;
    int32_t rows = 0;
    for (const size_t i : open) {
      tasks.push_back(
          {texts[i], memories.ranges.at(static_cast<size_t>(batch.readings[i].memory))});
      rows += static_cast<int32_t>(texts[i].size());
      last.push_back(rows - 1);
    }
    const Tensor hidden =
        read_tasks(g, m.base, memories.kv, tasks,
                   {.pass = {.adapters = {.one = m.reader}}, .activations = m.activations});
    const auto count = static_cast<int64_t>(last.size());
    const Tensor logits =
        m.base.logits(ctx, autograd::gather_rows(g, hidden, model::make_ints(ctx, last, {count})));
    const Tensor best = ctx.make(Dtype::i32, {count});
    ops::argmax(ctx, {.x = logits, .out = best});
    std::vector<int32_t> ids(open.size());
    backend::download(ctx, best, std::as_writable_bytes(std::span(ids)));
    std::vector<size_t> still;
    for (size_t i = 0; i < open.size(); ++i) {
      if (std::find(stops.begin(), stops.end(), ids[i]) == stops.end()) {
        texts[open[i]].push_back(ids[i]);
        still.push_back(open[i]);
      }
    }
    open = std::move(still);
  }
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < texts.size(); ++i) {
    out.emplace_back(
        texts[i].begin() + static_cast<std::ptrdiff_t>(batch.readings[i].tokens.size()),
        texts[i].end());
  }
  return out;
}

}  // namespace offbook::compress
