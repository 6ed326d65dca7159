#include "src/evaluate/contexts.h"

#include <chrono>
#include <utility>

#include "src/base/error.h"
#include "src/compress/registry.h"
#include "src/evaluate/contexts_text.h"
#include "src/evaluate/token_text.h"
#include "src/metrics/text_scores.h"
#include "src/store/hash.h"

namespace offbook::evaluate {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
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

std::string ContextMaker::unavailable(const Cell& cell) {
  if (cell.method == "none" || cell.method == "full" || cell.method == "rag") {
    return "";
  }
  try {
    compressor(cell.method);
    return "";
  } catch (const Error& e) {
    if (e.code() != ErrorCode::Unsupported) {
      throw;
    }
    return e.what();
  }
}

void ContextMaker::count(MadeContext& made) const {
  if (made.parts.empty()) {
    made.kept_tokens = count_tokens(tools_.base.tokenizer, made.text);
  }
}

void ContextMaker::look_for_answer(const Case& c, MadeContext& made) const {
  if (made.parts.empty() && !c.answers.empty()) {
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

void ContextMaker::make_whole(const Run& run, Text& text) {
  std::map<int64_t, MadeContext> by_room;
  for (const std::vector<int64_t>& rooms : run.rooms) {
    for (const int64_t room : rooms) {
      const auto [at, is_new] = by_room.try_emplace(room);
      if (is_new) {
        at->second = whole(*run.data.task, text, room);
        count(at->second);
      }
    }
  }
  each_case(run, [&](size_t i, const Case& c, std::vector<MadeContext>& out) {
    for (const int64_t room : run.rooms[i]) {
      out.push_back(by_room.at(room));
      look_for_answer(c, out.back());
    }
  });
}

// By case, by cell.
std::vector<compress::Request> ContextMaker::requests_of(const Run& run, const Text& text,
                                                         const Segment& segment) const {
  std::vector<compress::Request> requests;
  for (size_t i = 0; i < run.cases.size(); ++i) {
    for (const Cell* cell : run.cells) {
      requests.push_back({.segment = &segment,
                          .text = text.document->text,
                          .question = run.one(i).question,
                          .budget = {.ratio = cell->budget > 0 ? 0 : cell->ratio,
                                     .tokens = static_cast<int32_t>(cell->budget)},
                          .seed = options_.seed});
    }
  }
  return requests;
}

// What is given to the reader of a compressed text, in so much room.
MadeContext ContextMaker::given(const Run& run, const compress::Compressor& method,
                                const CompressedContext& context, int64_t room) const {
  MadeContext made{.adapter = method.reader_adapter(),
                   .source_tokens = context.tokens_before,
                   .kept_tokens = context.tokens_after,
                   .spans = context.slot_spans,
                   .is_online = method.describe().is_query_aware};
  made.is_cut = context.tokens_after > room;
  made.does_not_fit = made.is_cut && run.data.task->cut == Cut::never;
  if (context.kind == ContextKind::text) {
    made.text = first_tokens(tools_.base.tokenizer, context.text, room);
    count(made);
    return made;
  }
  compress::Attachment attachment{.context = &context};
  if (made.is_cut) {
    attachment.slots.emplace();
    for (int32_t slot = 0; slot < room; ++slot) {
      attachment.slots->push_back(slot);
    }
    made.kept_tokens = room;
  }
  made.parts = method.attach(std::span(&attachment, 1), {.has_text_before = true});
  return made;
}

void ContextMaker::make_compressed(const Run& run, Text& text) {
  const compress::Compressor& method = compressor(run.cells.front()->method);
  const Segment segment = segment_of(*text.document, text.tokens);
  const double flops =
      method.plan({.segment = &segment, .text = text.document->text, .budget = {.ratio = 8}}).flops;
  const size_t n = run.cells.size();
  const std::vector<compress::Request> requests = requests_of(run, text, segment);
  if (method.describe().is_query_aware) {
    const std::vector<CompressedContext> contexts = method.compress(tools_.ctx, requests);
    each_case(run, [&](size_t i, const Case& c, std::vector<MadeContext>& out) {
      for (size_t j = 0; j < n; ++j) {
        out.push_back(given(run, method, contexts[i * n + j], run.rooms[i][j]));
        out.back().flops = flops;
        look_for_answer(c, out.back());
      }
    });
    return;
  }
  std::string key = method.describe().id;
  for (const Cell* cell : run.cells) {
    key += cell->group();
  }
  const auto [at, is_new] = text.contexts.try_emplace(key);
  if (is_new) {
    at->second = method.compress(tools_.ctx, std::span(requests).first(n));
  }
  std::map<std::pair<size_t, int64_t>, MadeContext> shared;  // by cell and room
  for (const std::vector<int64_t>& rooms : run.rooms) {
    for (size_t j = 0; j < n; ++j) {
      const auto [made, is_first] = shared.try_emplace({j, rooms[j]});
      if (is_first) {
        made->second = given(run, method, at->second[j], rooms[j]);
        made->second.flops = flops;
      }
    }
  }
  each_case(run, [&](size_t i, const Case& c, std::vector<MadeContext>& out) {
    for (size_t j = 0; j < n; ++j) {
      out.push_back(shared.at({j, run.rooms[i][j]}));
      look_for_answer(c, out.back());
    }
  });
}

void ContextMaker::make_run(const Run& run) {
  const auto began = Clock::now();
  const Cell& first = *run.cells.front();
  Text& text = text_of(run.data.documents[run.one(0).document]);
  // Whether one reading of the text serves all cells: each would have cost it alone.
  bool shares_reading = false;
  if (first.method == "none") {
    for (std::vector<MadeContext>& out : run.out) {
      out.assign(run.cells.size(), {.source_tokens = static_cast<int64_t>(text.tokens.ids.size())});
    }
    each_case(run, [&](size_t, const Case& c, std::vector<MadeContext>& out) {
      look_for_answer(c, out.front());
    });
  } else if (first.method == "rag" || (first.method == "full" && first.top_k > 0)) {
    make_retrieved(run, text);
  } else if (first.method == "full") {
    make_whole(run, text);
  } else if (first.top_k > 0) {
    make_from_passages(run, text);
  } else {
    shares_reading = true;
    make_compressed(run, text);
  }
  const double indexing = std::exchange(index_seconds_, 0);
  const auto n = static_cast<double>(run.cases.size());
  const double parts = shares_reading ? 1 : static_cast<double>(run.cells.size());
  const double seconds = (seconds_since(began) - indexing) / n / parts;
  for (size_t i = 0; i < run.cases.size(); ++i) {
    for (size_t j = 0; j < run.cells.size(); ++j) {
      MadeContext& made = run.out[i][j];
      (made.is_online ? made.seconds : made.offline_seconds) += seconds;
      made.offline_seconds += indexing / n;
      made.key =
          key_of(signature(*run.cells[j]), text.hash + (made.is_online ? run.one(i).question : "") +
                                               std::to_string(made.kept_tokens));
    }
  }
}

std::vector<std::vector<MadeContext>> ContextMaker::make(const ContextWish& wish) {
  std::vector<std::vector<MadeContext>> out(wish.cases.size());
  const auto document_of = [&](size_t i) { return wish.data->cases[wish.cases[i]].document; };
  for (size_t begin = 0; begin < wish.cases.size();) {
    size_t end = begin + 1;
    while (end < wish.cases.size() && document_of(end) == document_of(begin)) {
      ++end;
    }
    make_run({.data = *wish.data,
              .cases = std::span(wish.cases).subspan(begin, end - begin),
              .cells = wish.cells,
              .rooms = std::span(wish.rooms).subspan(begin, end - begin),
              .out = std::span(out).subspan(begin, end - begin)});
    begin = end;
  }
  return out;
}

}  // namespace offbook::evaluate
