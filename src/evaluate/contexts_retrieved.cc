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
// Sizes that passages are cut to, so that at least two fit a budget: indexes are made once a size.
constexpr int64_t kSmallPassages[] = {32, 64, 128};

int64_t limit_of(const Cell& cell, int64_t tokens) {
  return cell.has_budget() ? compress::kept_limit(static_cast<int32_t>(tokens),
                                                  {.ratio = cell.budget > 0 ? 0 : cell.ratio,
                                                   .tokens = static_cast<int32_t>(cell.budget)})
                           : tokens;
}

int64_t passage_size(const Cell& cell, int64_t budget) {
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

std::vector<ByteSpan> ContextMaker::cut_passages(const Text& text, int64_t passage_tokens) const {
  if (options_.passage_words > 0) {
    return word_passages(text.document->text, options_.passage_words);
  }
  const Document document{.id = text.document->id,
                          .text = text.document->text,
                          .sections = {{.span = {0, text.document->text.size()}}}};
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

const DocumentIndex& ContextMaker::index_of(Text& text, int64_t passage_tokens) {
  auto& index = text.indexes[options_.passage_words > 0 ? 0 : passage_tokens];
  if (!index) {
    const auto began = Clock::now();
    index = std::make_unique<DocumentIndex>(
        text.document->text, cut_passages(text, passage_tokens), words_,
        options_.retriever == retrieve::Mode::words ? nullptr : tools_.encoder);
    index_seconds_ += std::chrono::duration<double>(Clock::now() - began).count();
  }
  return *index;
}

std::vector<AskedQuestion> ContextMaker::asked(const Run& run) const {
  std::vector<std::string> questions;
  for (size_t i = 0; i < run.cases.size(); ++i) {
    questions.push_back(run.one(i).question);
  }
  return asked_questions(questions, words_,
                         options_.retriever == retrieve::Mode::words ? nullptr : tools_.encoder);
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

void ContextMaker::make_retrieved(const Run& run, Text& text) {
  const auto tokens = static_cast<int64_t>(text.tokens.ids.size());
  const std::vector<AskedQuestion> questions = asked(run);
  std::vector<std::vector<Ranking>> rankings(run.cases.size());
  for (size_t i = 0; i < run.cases.size(); ++i) {
    for (size_t j = 0; j < run.cells.size(); ++j) {
      const Cell& cell = *run.cells[j];
      const int64_t room = run.rooms[i][j];
      const int64_t budget = std::min(room, cell.top_k > 0 ? room : limit_of(cell, tokens));
      rankings[i].push_back({&index_of(text, passage_size(cell, budget)), &questions[i], budget});
    }
  }
  each_case(run, [&](size_t i, const Case& c, std::vector<MadeContext>& out) {
    for (size_t j = 0; j < run.cells.size(); ++j) {
      out.push_back(retrieved(c, text, *run.cells[j], rankings[i][j]));
      count(out.back());
      look_for_answer(c, out.back());
    }
  });
}

// The passages are the text that is compressed, a question at a time.
void ContextMaker::make_from_passages(const Run& run, Text& text) {
  const Cell& first = *run.cells.front();
  const std::vector<AskedQuestion> questions = asked(run);
  for (size_t i = 0; i < run.cases.size(); ++i) {
    const int64_t all = std::numeric_limits<int32_t>::max();
    const MadeContext passages = retrieved(
        run.one(i), text, first, {&index_of(text, passage_size(first, all)), &questions[i], all});
    const CaseDocument joined{.id = text.document->id, .text = passages.text};
    Text short_text{.document = &joined,
                    .tokens = plain_tokens(tools_.base.tokenizer, joined.text)};
    make_compressed({.data = run.data,
                     .cases = run.cases.subspan(i, 1),
                     .cells = run.cells,
                     .rooms = run.rooms.subspan(i, 1),
                     .out = run.out.subspan(i, 1)},
                    short_text);
    for (MadeContext& made : run.out[i]) {
      made.source_tokens = static_cast<int64_t>(text.tokens.ids.size());
      made.spans = passages.spans;
      made.cited = passages.cited;
      made.supporting = passages.supporting;
      made.is_online = true;
    }
  }
}

}  // namespace offbook::evaluate
