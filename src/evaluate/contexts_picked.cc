// Contexts of slots: of the passages that are found for a question, out of what was written of the
// whole text beforehand.
#include <chrono>
#include <set>

#include "src/evaluate/contexts_text.h"
#include "src/metrics/text_scores.h"

namespace offbook::evaluate {

// Slots of passages from the best on, until the budget is full; in the order of the text.
MadeContext ContextMaker::picked(const Case& c, const Text& text,
                                 const compress::Compressor& method, const CompressedContext& slots,
                                 const Ranking& ranking) const {
  MadeContext out{.adapter = method.reader_adapter(),
                  .source_tokens = static_cast<int64_t>(text.tokens.ids.size()),
                  .is_online = true};
  const std::string_view document = text.document->text;
  std::set<int32_t> taken;
  const auto is_full = [&] { return static_cast<int64_t>(taken.size()) >= ranking.budget; };
  for (const size_t p : ranking.index->rank(*ranking.question, options_.retriever)) {
    if (is_full()) {
      break;
    }
    const ByteSpan span = ranking.index->passages()[p];
    for (const int32_t slot : compress::slots_at(slots, span)) {
      if (!is_full()) {
        taken.insert(slot);
      }
    }
    ++out.cited;
    out.supporting += !c.answers.empty() &&
                      metrics::contains_normalized(
                          document.substr(span.begin, span.end - span.begin), c.answers) > 0;
  }
  const compress::Attachment attachment{.context = &slots,
                                        .slots = std::vector<int32_t>(taken.begin(), taken.end())};
  out.parts = method.attach(std::span(&attachment, 1), {.has_text_before = true});
  for (const int32_t slot : *attachment.slots) {
    const ByteSpan& span = slots.slot_spans[static_cast<size_t>(slot)];
    if (!out.spans.empty() && out.spans.back().end == span.begin) {
      out.spans.back().end = span.end;
    } else {
      out.spans.push_back(span);
    }
  }
  out.kept_tokens = static_cast<int64_t>(taken.size());
  return out;
}

void ContextMaker::make_picked(Runs runs) {
  const auto began = std::chrono::steady_clock::now();
  const compress::Compressor& method = compressor(runs.front().cells.front()->compressor());
  const compress::Budget budget{.ratio = options_.slot_ratio};
  const std::string key = fmt::format("picked {:g}", budget.ratio);
  write_texts(runs, method, key, std::span(&budget, 1));
  shared_seconds_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  make_indexes(runs);
  const std::vector<AskedQuestion> questions = asked(runs);
  const std::vector<size_t> first = first_questions(runs);
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    const Run& run = runs[r];
    const auto tokens = static_cast<int64_t>(run.text->tokens.ids.size());
    const double flops = method.plan(request(run, i, budget)).flops;
    for (size_t j = 0; j < run.cells.size(); ++j) {
      out.push_back(
          picked(run.one(i), *run.text, method, run.text->contexts.at(key).front(),
                 {.index = run.text->indexes.at(passage_size(run, i, j)).get(),
                  .question = &questions[first[r] + i],
                  .budget = std::min(run.rooms[i][j], kept_at_most(*run.cells[j], tokens))}));
      out.back().flops = flops;
    }
  });
}

}  // namespace offbook::evaluate
