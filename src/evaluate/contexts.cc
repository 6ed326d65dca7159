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

}  // namespace

compress::Budget budget_of(const Cell& cell) {
  return {.ratio = cell.budget > 0 ? 0 : cell.ratio, .tokens = static_cast<int32_t>(cell.budget)};
}

void ContextMaker::Text::open(const text::Tokenizer& tokenizer, const CaseDocument& of) {
  document = &of;
  hash = of.hash;
  tokens = plain_tokens(tokenizer, of.text);
  segment = {.document_id = of.id,
             .span = {0, of.text.size()},
             .tokens = tokens.ids,
             .token_spans = tokens.spans};
}

ContextMaker::ContextMaker(const ContextTools& tools, const ContextOptions& options)
    : tools_(tools), options_(options) {}
ContextMaker::~ContextMaker() = default;

std::string ContextMaker::signature(const Cell& cell) const {
  std::string out = cell.name();
  const bool is_picked = cell.method == "picked";
  const bool retrieves = cell.method == "rag" || is_picked || cell.top_k > 0;
  if (retrieves) {
    out += fmt::format(
        " passages={} mode={} last={}{}", options_.passage_words,
        static_cast<int>(tools_.encoder == nullptr ? retrieve::Mode::words : options_.retriever),
        options_.best_last, options_.is_numbered ? " numbered" : "");
  }
  if (cell.method == "random") {
    out += fmt::format(" seed={}", options_.seed);
  }
  if (is_picked) {
    out += fmt::format(" slots={:g}x", options_.slot_ratio);
  }
  if (const auto at = tools_.learned.find(cell.compressor()); at != tools_.learned.end()) {
    out += " weights=" + at->second->describe().weights_hash;
  }
  return out;
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
  if (cell.compressor().empty()) {
    return "";
  }
  try {
    compressor(cell.compressor());
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

void ContextMaker::make_nothing(Runs runs) {
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    const auto tokens = static_cast<int64_t>(runs[r].text->tokens.ids.size());
    out.assign(runs[r].cells.size(), {.source_tokens = tokens});
    for (MadeContext& made : out) {
      look_for_answer(runs[r].one(i), made);
    }
  });
}

void ContextMaker::make_whole(Runs runs) {
  std::vector<std::map<int64_t, MadeContext>> by_room(runs.size());
  each_run(runs, [&](size_t r) {
    for (const std::vector<int64_t>& rooms : runs[r].rooms) {
      for (const int64_t room : rooms) {
        const auto [at, is_new] = by_room[r].try_emplace(room);
        if (is_new) {
          at->second = whole(*runs[r].data.task, *runs[r].text, room);
          count(at->second);
        }
      }
    }
  });
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    for (const int64_t room : runs[r].rooms[i]) {
      out.push_back(by_room[r].at(room));
      look_for_answer(runs[r].one(i), out.back());
    }
  });
}

compress::Request ContextMaker::request(const Run& run, size_t i,
                                        const compress::Budget& budget) const {
  return {.segment = &run.text->segment,
          .text = run.text->document->text,
          .question = run.one(i).question,
          .budget = budget,
          .seed = options_.seed};
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
  made.flops = method
                   .plan({.segment = &run.text->segment,
                          .text = run.text->document->text,
                          .budget = {.ratio = 8}})
                   .flops;
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

void ContextMaker::make_for_questions(Runs runs, const compress::Compressor& method) {
  std::vector<compress::Request> requests;
  std::vector<size_t> first;  // request of a run
  for (const Run& run : runs) {
    first.push_back(requests.size());
    for (size_t i = 0; i < run.cases.size(); ++i) {
      for (const Cell* cell : run.cells) {
        requests.push_back(request(run, i, budget_of(*cell)));
      }
    }
  }
  const std::vector<CompressedContext> contexts = method.compress(tools_.ctx, requests);
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    const size_t n = runs[r].cells.size();
    for (size_t j = 0; j < n; ++j) {
      out.push_back(given(runs[r], method, contexts[first[r] + i * n + j], runs[r].rooms[i][j]));
      look_for_answer(runs[r].one(i), out.back());
    }
  });
}

// What a method makes of texts without question, a context a budget, where it is not there yet.
void ContextMaker::write_texts(Runs runs, const compress::Compressor& method,
                               const std::string& key, std::span<const compress::Budget> budgets) {
  std::vector<compress::Request> requests;
  std::vector<std::vector<CompressedContext>*> wanted;
  for (const Run& run : runs) {
    const auto [at, is_new] = run.text->contexts.try_emplace(key);
    if (is_new) {
      for (const compress::Budget& budget : budgets) {
        requests.push_back(request(run, 0, budget));
      }
      wanted.push_back(&at->second);
    }
  }
  std::vector<CompressedContext> contexts = method.compress(tools_.ctx, requests);
  const auto n = static_cast<std::ptrdiff_t>(budgets.size());
  for (size_t w = 0; w < wanted.size(); ++w) {
    const auto begin = contexts.begin() + static_cast<std::ptrdiff_t>(w) * n;
    wanted[w]->assign(std::make_move_iterator(begin), std::make_move_iterator(begin + n));
  }
}

void ContextMaker::make_compressed(Runs runs) {
  const compress::Compressor& method = compressor(runs.front().cells.front()->method);
  if (method.describe().is_query_aware) {
    make_for_questions(runs, method);
    return;
  }
  std::string key = method.describe().id;
  std::vector<compress::Budget> budgets;
  for (const Cell* cell : runs.front().cells) {
    key += cell->group();
    budgets.push_back(budget_of(*cell));
  }
  write_texts(runs, method, key, budgets);
  using Shared = std::map<std::pair<size_t, int64_t>, MadeContext>;  // by cell and room
  std::vector<Shared> shared(runs.size());
  each_run(runs, [&](size_t r) {
    const std::vector<CompressedContext>& own = runs[r].text->contexts.at(key);
    for (const std::vector<int64_t>& rooms : runs[r].rooms) {
      for (size_t j = 0; j < rooms.size(); ++j) {
        const auto [made, is_first] = shared[r].try_emplace({j, rooms[j]});
        if (is_first) {
          made->second = given(runs[r], method, own[j], rooms[j]);
        }
      }
    }
  });
  each_case(runs, [&](size_t r, size_t i, std::vector<MadeContext>& out) {
    for (size_t j = 0; j < runs[r].rooms[i].size(); ++j) {
      out.push_back(shared[r].at({j, runs[r].rooms[i][j]}));
      look_for_answer(runs[r].one(i), out.back());
    }
  });
}

// Time is shared among all cases; that of one reading of a text, which serves all cells, counts for
// each of them: it would have cost it alone.
void ContextMaker::account(Runs runs, double seconds, bool shares_reading) {
  size_t cases = 0;
  for (const Run& run : runs) {
    cases += run.cases.size();
  }
  const auto cells = static_cast<double>(runs.front().cells.size());
  const double before = std::exchange(shared_seconds_, 0);
  const double share =
      (seconds - before) / static_cast<double>(cases) / (shares_reading ? 1 : cells);
  for (const Run& run : runs) {
    for (size_t i = 0; i < run.cases.size(); ++i) {
      for (size_t j = 0; j < run.cells.size(); ++j) {
        MadeContext& made = run.out[i][j];
        (made.is_online ? made.seconds : made.offline_seconds) += share;
        made.offline_seconds += before / static_cast<double>(cases);
        made.key = key_of(signature(*run.cells[j]),
                          run.text->hash + (made.is_online ? run.one(i).question : "") +
                              std::to_string(made.kept_tokens));
      }
    }
  }
}

std::vector<ContextMaker::Run> ContextMaker::runs_of(const ContextWish& wish,
                                                     std::vector<std::vector<MadeContext>>& out) {
  std::vector<Run> runs;
  const auto document_of = [&](size_t i) { return wish.data->cases[wish.cases[i]].document; };
  for (size_t begin = 0; begin < wish.cases.size();) {
    size_t end = begin + 1;
    while (end < wish.cases.size() && document_of(end) == document_of(begin)) {
      ++end;
    }
    runs.push_back({.data = *wish.data,
                    .cases = std::span(wish.cases).subspan(begin, end - begin),
                    .cells = wish.cells,
                    .rooms = std::span(wish.rooms).subspan(begin, end - begin),
                    .out = std::span(out).subspan(begin, end - begin)});
    begin = end;
  }
  return runs;
}

// Texts that were open before stay; others go.
void ContextMaker::open_texts(std::vector<Run>& runs) {
  std::map<const CaseDocument*, std::unique_ptr<Text>> open;
  std::vector<std::pair<Text*, const CaseDocument*>> fresh;
  for (Run& run : runs) {
    const CaseDocument& document = run.data.documents[run.one(0).document];
    auto& text = open[&document];
    if (const auto before = texts_.find(&document); !text && before != texts_.end()) {
      text = std::move(before->second);
    }
    if (!text) {
      text = std::make_unique<Text>();
      fresh.emplace_back(text.get(), &document);
    }
    run.text = text.get();
  }
  texts_ = std::move(open);
  tools_.ctx.pool->run(static_cast<int64_t>(fresh.size()), [&](int64_t i) {
    const auto [text, document] = fresh[static_cast<size_t>(i)];
    text->open(tools_.base.tokenizer, *document);
  });
}

std::vector<std::vector<MadeContext>> ContextMaker::make(const ContextWish& wish) {
  const auto began = Clock::now();
  std::vector<std::vector<MadeContext>> out(wish.cases.size());
  std::vector<Run> runs = runs_of(wish, out);
  if (runs.empty()) {
    return out;
  }
  open_texts(runs);
  const Cell& first = *wish.cells.front();
  bool shares_reading = false;
  if (first.method == "none") {
    make_nothing(runs);
  } else if (first.method == "rag" || (first.method == "full" && first.top_k > 0)) {
    make_retrieved(runs);
  } else if (first.method == "picked") {
    make_picked(runs);
  } else if (first.method == "full") {
    make_whole(runs);
  } else if (first.top_k > 0) {
    make_from_passages(runs);
  } else {
    shares_reading = true;
    make_compressed(runs);
  }
  account(runs, seconds_since(began), shares_reading);
  return out;
}

}  // namespace offbook::evaluate
