// Contexts of retrieved passages.
#include <algorithm>
#include <chrono>
#include <limits>

#include "src/evaluate/contexts_text.h"
#include "src/evaluate/token_text.h"
#include "src/ingest/passages.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/metrics/text_scores.h"

namespace offbook::evaluate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPassageTokens = 200;
// Whose slots are picked: four at 16×, so that ten places of a text share the 40 tokens that slots
// are compared at.
constexpr int64_t kPickedPassage = 64;
// Sizes that passages are cut to, so that at least two fit a budget: indexes are made once a size.
constexpr int64_t kSmallPassages[] = {32, 64, 128};

int64_t size_for(const Cell& cell, int64_t budget) {
  if (!cell.has_budget()) {
    return kPassageTokens;
  }
  int64_t size = kSmallPassages[0];
  for (const int64_t larger : kSmallPassages) {
    size = larger * 2 <= budget ? larger : size;
  }
  return kPassageTokens * 2 <= budget ? kPassageTokens : size;
}

}  // namespace

int64_t kept_at_most(const Cell& cell, int64_t tokens) {
  return cell.has_budget() ? compress::kept_limit(static_cast<int32_t>(tokens), budget_of(cell))
                           : tokens;
}

std::vector<ByteSpan> ContextMaker::cut_passages(const CaseDocument& of,
                                                 int64_t passage_tokens) const {
  if (options_.passage_words > 0) {
    return word_passages(of.text, options_.passage_words);
  }
  const Document document{
      .id = of.id, .text = of.text, .sections = {{.span = {0, of.text.size()}}}};
  const text::Tokenizer& pieces =
      tools_.encoder == nullptr ? tools_.base.tokenizer : tools_.encoder->tokenizer();
  const ingest::TokenizerCounter counter(tools_.base.tokenizer, pieces);
  const ingest::PassageOptions options{
      .size_tokens = static_cast<int>(passage_tokens),
      .overlap_tokens = 0,
      .encoder_window = tools_.encoder == nullptr ? 1 << 20 : tools_.encoder->window()};
  std::vector<ByteSpan> out;
  for (const Passage& passage : ingest::cut_passages(document, options, counter)) {
    out.push_back(passage.span);
  }
  return out;
}

int64_t ContextMaker::passage_size(const Run& run, size_t i, size_t cell) const {
  const Cell& c = *run.cells[cell];
  const auto tokens = static_cast<int64_t>(run.text->tokens.ids.size());
  const int64_t room = run.rooms[i][cell];
  const int64_t budget = std::min(room, c.top_k > 0 ? room : kept_at_most(c, tokens));
  if (options_.passage_words > 0) {
    return 0;
  }
  return c.method == "picked" ? kPickedPassage : size_for(c, budget);
}

// Those that are missing: passages are cut on the pool, and all go through the encoder at once.
void ContextMaker::make_indexes(Runs runs) {
  const auto began = Clock::now();
  struct Missing {
    Text* text;
    int64_t size;
    std::vector<ByteSpan> passages;
  };
  std::vector<Missing> missing;
  for (const Run& run : runs) {
    for (size_t i = 0; i < run.cases.size(); ++i) {
      for (size_t j = 0; j < run.cells.size(); ++j) {
        const int64_t size = passage_size(run, i, j);
        if (run.text->indexes.try_emplace(size).second) {
          missing.push_back({run.text, size, {}});
        }
      }
    }
  }
  tools_.ctx.pool->run(static_cast<int64_t>(missing.size()), [&](int64_t m) {
    Missing& one = missing[static_cast<size_t>(m)];
    one.passages = cut_passages(*one.text->document, one.size);
  });
  std::vector<IndexedText> texts;
  for (Missing& one : missing) {
    texts.push_back({one.text->document->text, std::move(one.passages)});
  }
  auto made =
      make_document_indexes(std::move(texts), words_,
                            options_.retriever == retrieve::Mode::words ? nullptr : tools_.encoder);
  for (size_t m = 0; m < missing.size(); ++m) {
    missing[m].text->indexes[missing[m].size] = std::move(made[m]);
  }
  shared_seconds_ += std::chrono::duration<double>(Clock::now() - began).count();
}

// Run after run, case after case.
std::vector<AskedQuestion> ContextMaker::asked(Runs runs) const {
  std::vector<std::string> questions;
  for (const Run& run : runs) {
    for (size_t i = 0; i < run.cases.size(); ++i) {
      questions.push_back(run.one(i).question);
    }
  }
  return asked_questions(questions, words_,
                         options_.retriever == retrieve::Mode::words ? nullptr : tools_.encoder);
}

std::vector<size_t> ContextMaker::first_questions(Runs runs) {
  std::vector<size_t> first;
  for (size_t r = 0, n = 0; r < runs.size(); n += runs[r++].cases.size()) {
    first.push_back(n);
  }
  return first;
}

// Passages from the best on: `top_k` of them, or as many as the budget has room for; what is left
// of a budget goes to the beginning of the next one, so that all methods keep equally much.
MadeContext ContextMaker::retrieved(const Case& c, const Text& text, const Cell& cell,
                                    const Ranking& ranking) const {
  const int64_t budget = ranking.budget;
  const DocumentIndex& index = *ranking.index;
  MadeContext out{.source_tokens = static_cast<int64_t>(text.tokens.ids.size()), .is_online = true};
  const text::Tokenizer& tokenizer = tools_.base.tokenizer;
  const std::string& document = text.document->text;
  std::vector<std::string> pieces;
  int64_t left = budget;
  for (const size_t p : index.rank(*ranking.question, options_.retriever)) {
    const ByteSpan span = index.passages()[p];
    std::string_view passage(document.data() + span.begin, span.end - span.begin);
    if (left <= 8 || (cell.top_k > 0 && static_cast<int>(pieces.size()) == cell.top_k)) {
      break;
    }
    const int64_t cost = count_tokens(tokenizer, passage) + 1;  // and the blank line
    if (cost > left) {
      if (cell.top_k > 0) {
        out.is_cut = true;  // a passage is dropped whole
        continue;
      }
      passage = first_tokens(tokenizer, passage, left - 1);
    }
    left -= std::min(left, cost);
    pieces.emplace_back(passage);
    out.spans.push_back({span.begin, span.begin + passage.size()});
    ++out.cited;
    out.supporting += !c.answers.empty() && metrics::contains_normalized(passage, c.answers) > 0;
  }
  // Joined passages may read as a few tokens more than each alone: then the last is cut further.
  const auto join = [&] {
    std::vector<std::string> ordered = pieces;
    if (options_.best_last) {
      std::reverse(ordered.begin(), ordered.end());
    }
    for (size_t i = 0; options_.is_numbered && i < ordered.size(); ++i) {
      ordered[i].insert(0, fmt::format("[{}] ", i + 1));
    }
    out.text = fmt::format("{}", fmt::join(ordered, "\n\n"));
    return count_tokens(tokenizer, out.text) - budget;
  };
  for (int64_t over = join(); over > 0 && !pieces.empty(); over = join()) {
    std::string& last = pieces.back();
    last =
        first_tokens(tokenizer, last, std::max<int64_t>(0, count_tokens(tokenizer, last) - over));
    out.spans[pieces.size() - 1].end = out.spans[pieces.size() - 1].begin + last.size();
    if (last.empty()) {
      pieces.pop_back();
      out.spans.pop_back();
    }
  }
  if (options_.best_last) {
    std::reverse(out.spans.begin(), out.spans.end());
  }
  return out;
}

void ContextMaker::make_retrieved(Runs runs) {
  make_indexes(runs);
  const std::vector<AskedQuestion> questions = asked(runs);
  const std::vector<size_t> first = first_questions(runs);
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    const Run& run = runs[r];
    const auto tokens = static_cast<int64_t>(run.text->tokens.ids.size());
    for (size_t j = 0; j < run.cells.size(); ++j) {
      const Cell& cell = *run.cells[j];
      const int64_t room = run.rooms[i][j];
      out.push_back(retrieved(
          run.one(i), *run.text, cell,
          {.index = run.text->indexes.at(passage_size(run, i, j)).get(),
           .question = &questions[first[r] + i],
           .budget = std::min(room, cell.top_k > 0 ? room : kept_at_most(cell, tokens))}));
      count(out.back());
      look_for_answer(run.one(i), out.back());
    }
  });
}

// The passages are the text that is compressed, a question at a time.
void ContextMaker::make_from_passages(Runs runs) {
  make_indexes(runs);
  const std::vector<AskedQuestion> questions = asked(runs);
  size_t question = 0;
  for (const Run& run : runs) {
    for (size_t i = 0; i < run.cases.size(); ++i) {
      const MadeContext passages =
          retrieved(run.one(i), *run.text, *run.cells.front(),
                    {.index = run.text->indexes.at(passage_size(run, i, 0)).get(),
                     .question = &questions[question++],
                     .budget = std::numeric_limits<int32_t>::max()});
      const CaseDocument joined{.id = run.text->document->id, .text = passages.text};
      Text short_text;
      short_text.open(tools_.base.tokenizer, joined);
      const Run one{.data = run.data,
                    .cases = run.cases.subspan(i, 1),
                    .cells = run.cells,
                    .rooms = run.rooms.subspan(i, 1),
                    .out = run.out.subspan(i, 1),
                    .text = &short_text};
      make_compressed(std::span(&one, 1));
      for (MadeContext& made : run.out[i]) {
        made.source_tokens = static_cast<int64_t>(run.text->tokens.ids.size());
        made.spans = passages.spans;
        made.cited = passages.cited;
        made.supporting = passages.supporting;
        made.is_online = true;
      }
    }
  }
}

}  // namespace offbook::evaluate
