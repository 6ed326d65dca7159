#include "src/evaluate/contexts.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "src/base/error.h"
#include "src/compress/registry.h"
#include "src/evaluate/token_text.h"
#include "src/ingest/passages.h"
#include "src/ingest/tokenizer_counter.h"
#include "src/metrics/text_scores.h"
#include "src/store/hash.h"

namespace offbook::evaluate {
namespace {

constexpr int64_t kPassageTokens = 200;
// Sizes that passages are cut to, so that at least two fit a budget: indexes are made once a size.
constexpr int64_t kSmallPassages[] = {32, 64, 128};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

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

std::string key_of(const std::string& method, const std::string& text) {
  return store::to_hex(store::Hasher().add_text(method).add_text(text).digest());
}

Segment segment_of(const CaseDocument& document, const text::Encoding& tokens) {
  return {.document_id = document.id,
          .span = {0, document.text.size()},
          .tokens = tokens.ids,
          .token_spans = tokens.spans};
}

}  // namespace

// A document, or passages of one in its place, with what cells share.
struct ContextMaker::Text {
  const CaseDocument* document = nullptr;
  std::string hash;
  text::Encoding tokens;
  std::map<int64_t, std::unique_ptr<DocumentIndex>> indexes;       // by passage size
  std::map<std::string, std::vector<CompressedContext>> contexts;  // by method, budgets, question
};

ContextMaker::ContextMaker(const ContextTools& tools, const ContextOptions& options)
    : tools_(tools), options_(options) {}
ContextMaker::~ContextMaker() = default;

std::string ContextMaker::signature(const Cell& cell) const {
  std::string out = cell.name();
  const bool retrieves = cell.method == "rag" || cell.top_k > 0;
  if (retrieves) {
    out += fmt::format(
        " passages={} mode={} last={}", options_.passage_words,
        static_cast<int>(tools_.encoder == nullptr ? retrieve::Mode::words : options_.retriever),
        options_.best_last);
  }
  if (cell.method == "random") {
    out += fmt::format(" seed={}", options_.seed);
  }
  if (const auto at = tools_.learned.find(cell.method); at != tools_.learned.end()) {
    out += " weights=" + at->second->describe().weights_hash;
  }
  return out;
}

ContextMaker::Text& ContextMaker::text_of(const CaseDocument& document) {
  if (!text_ || text_->hash != document.hash) {
    text_ = std::make_unique<Text>();
    text_->hash = document.hash;
    text_->tokens = plain_tokens(tools_.base.tokenizer, document.text);
  }
  if (text_->document != &document) {  // the same text elsewhere: views must follow it
    text_->indexes.clear();
    text_->document = &document;
  }
  return *text_;
}

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
    index_seconds_ += seconds_since(began);
  }
  return *index;
}

const compress::Compressor& ContextMaker::compressor(const std::string& method) {
  if (const auto at = tools_.learned.find(method); at != tools_.learned.end()) {
    return *at->second;
  }
  auto& made = made_[method];
  if (!made) {
    made = compress::make_compressor(tools_.ctx, tools_.base, method);
  }
  return *made;
}

// Is the answer there, and how much was kept: for text of any method.
void ContextMaker::finish(const Case& c, MadeContext& made) const {
  if (!made.parts.empty()) {
    return;
  }
  made.kept_tokens = count_tokens(tools_.base.tokenizer, made.text);
  if (!c.answers.empty()) {
    made.kept_answer = metrics::contains_normalized(made.text, c.answers);
  }
}

MadeContext ContextMaker::whole(const Task& task, const Text& text, int64_t room) const {
  MadeContext out{.source_tokens = static_cast<int64_t>(text.tokens.ids.size())};
  const std::string& document = text.document->text;
  if (out.source_tokens <= room) {
    out.text = document;
    out.spans = {{0, document.size()}};
    return out;
  }
  if (task.cut == Cut::never) {
    out.does_not_fit = true;
    return out;
  }
  out.is_cut = true;
  const text::Tokenizer& tokenizer = tools_.base.tokenizer;
  if (task.cut == Cut::middle) {
    const std::string_view head = first_tokens(tokenizer, document, room / 2);
    const std::string_view tail = last_tokens(tokenizer, document, room - room / 2 - 2);
    out.text = std::string(head) + std::string(tail);
    out.spans = {{0, head.size()}, {document.size() - tail.size(), document.size()}};
  } else {
    out.text = first_tokens(tokenizer, document, room);
    out.spans = {{0, out.text.size()}};
  }
  return out;
}

// Passages from the best on: `top_k` of them, or as many as the budget has room for; what is left
// of a budget goes to the beginning of the next one, so that all methods keep equally much.
MadeContext ContextMaker::retrieved(const Case& c, Text& text, const Cell& cell, int64_t room) {
  const auto tokens = static_cast<int64_t>(text.tokens.ids.size());
  const int64_t budget = std::min(room, cell.top_k > 0 ? room : limit_of(cell, tokens));
  const DocumentIndex& index = index_of(text, passage_size(cell, budget));
  MadeContext out{.source_tokens = tokens, .is_online = true};
  const text::Tokenizer& tokenizer = tools_.base.tokenizer;
  const std::string& document = text.document->text;
  std::vector<std::string> pieces;
  int64_t left = budget;
  for (const size_t p : index.rank(c.question, options_.retriever)) {
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

// Those of the last question only, where they depend on it.
const std::vector<CompressedContext>& ContextMaker::contexts_of(
    const compress::Compressor& method, const Case& c, Text& text,
    const std::vector<const Cell*>& cells) {
  const bool is_query_aware = method.describe().is_query_aware;
  std::string key = method.describe().id;
  for (const Cell* cell : cells) {
    key += cell->group();
  }
  if (is_query_aware) {
    text.contexts.clear();
    key += c.question;
  }
  const auto [at, is_new] = text.contexts.try_emplace(key);
  if (is_new) {
    const Segment segment = segment_of(*text.document, text.tokens);
    std::vector<compress::Request> requests;
    for (const Cell* cell : cells) {
      requests.push_back({.segment = &segment,
                          .text = text.document->text,
                          .question = c.question,
                          .budget = {.ratio = cell->budget > 0 ? 0 : cell->ratio,
                                     .tokens = static_cast<int32_t>(cell->budget)},
                          .seed = options_.seed});
    }
    at->second = method.compress(tools_.ctx, requests);
  }
  return at->second;
}

std::vector<MadeContext> ContextMaker::compressed(const Task& task, const Case& c, Text& text,
                                                  const std::vector<const Cell*>& cells,
                                                  const std::vector<int64_t>& rooms) {
  const compress::Compressor& method = compressor(cells.front()->method);
  const std::vector<CompressedContext>& contexts = contexts_of(method, c, text, cells);
  const Segment segment = segment_of(*text.document, text.tokens);
  const double flops =
      method.plan({.segment = &segment, .text = text.document->text, .budget = {.ratio = 8}}).flops;
  std::vector<MadeContext> out;
  for (size_t i = 0; i < contexts.size(); ++i) {
    const CompressedContext& context = contexts[i];
    MadeContext made{.adapter = method.reader_adapter(),
                     .source_tokens = context.tokens_before,
                     .kept_tokens = context.tokens_after,
                     .spans = context.slot_spans,
                     .is_online = method.describe().is_query_aware,
                     .flops = flops};
    made.is_cut = context.tokens_after > rooms[i];
    made.does_not_fit = made.is_cut && task.cut == Cut::never;
    if (context.kind == ContextKind::text) {
      made.text = first_tokens(tools_.base.tokenizer, context.text, rooms[i]);
    } else {
      compress::Attachment attachment{.context = &context};
      if (made.is_cut) {
        attachment.slots.emplace();
        for (int32_t slot = 0; slot < rooms[i]; ++slot) {
          attachment.slots->push_back(slot);
        }
        made.kept_tokens = rooms[i];
      }
      made.parts = method.attach(std::span(&attachment, 1), {.has_text_before = true});
    }
    out.push_back(std::move(made));
  }
  return out;
}

std::vector<MadeContext> ContextMaker::make(const TaskData& data, const Case& c,
                                            const std::vector<const Cell*>& cells,
                                            const std::vector<int64_t>& rooms) {
  const auto began = Clock::now();
  const Cell& first = *cells.front();
  Text& text = text_of(data.documents[c.document]);
  std::vector<MadeContext> out;
  if (first.method == "none") {
    for (size_t i = 0; i < cells.size(); ++i) {
      out.push_back({.source_tokens = static_cast<int64_t>(text.tokens.ids.size())});
    }
  } else if (first.method == "rag" || (first.method == "full" && first.top_k > 0)) {
    for (size_t i = 0; i < cells.size(); ++i) {
      out.push_back(retrieved(c, text, *cells[i], rooms[i]));
    }
  } else if (first.method == "full") {
    for (const int64_t room : rooms) {
      out.push_back(whole(*data.task, text, room));
    }
  } else if (first.top_k > 0) {
    // The passages are the text that is compressed.
    const int64_t source_tokens = static_cast<int64_t>(text.tokens.ids.size());
    MadeContext passages = retrieved(c, text, first, std::numeric_limits<int32_t>::max());
    const CaseDocument joined{.id = text.document->id, .text = passages.text};
    Text short_text{.document = &joined,
                    .tokens = plain_tokens(tools_.base.tokenizer, joined.text)};
    out = compressed(*data.task, c, short_text, cells, rooms);
    for (MadeContext& made : out) {
      made.source_tokens = source_tokens;
      made.spans = passages.spans;
      made.cited = passages.cited;
      made.supporting = passages.supporting;
      made.is_online = true;
    }
  } else {
    out = compressed(*data.task, c, text, cells, rooms);
  }
  const double indexing = std::exchange(index_seconds_, 0);
  const double seconds = seconds_since(began) - indexing;
  for (size_t i = 0; i < out.size(); ++i) {
    MadeContext& made = out[i];
    finish(c, made);
    // One reading of the text served all cells; each would have cost it alone.
    (made.is_online ? made.seconds : made.offline_seconds) += seconds;
    made.offline_seconds += indexing;
    made.key = key_of(signature(*cells[i]), data.documents[c.document].hash +
                                                (made.is_online ? c.question : "") +
                                                std::to_string(made.kept_tokens));
  }
  return out;
}

}  // namespace offbook::evaluate
