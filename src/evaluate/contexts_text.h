// What the parts of ContextMaker share; for contexts*.cc only.
#pragma once
#include "src/evaluate/contexts.h"

namespace offbook::evaluate {

compress::Budget budget_of(const Cell& cell);
// Tokens that a cell keeps of so many.
int64_t kept_at_most(const Cell& cell, int64_t tokens);

// A document, or passages of one in its place, with what cells share.
struct ContextMaker::Text {
  const CaseDocument* document = nullptr;
  std::string hash;
  text::Encoding tokens;
  Segment segment;
  std::map<int64_t, std::unique_ptr<DocumentIndex>> indexes;       // by passage size
  std::map<std::string, std::vector<CompressedContext>> contexts;  // by method and budgets

  // With the document's tokens.
  void open(const text::Tokenizer& tokenizer, const CaseDocument& of);
};

// How one cell's passages are ranked for one question.
struct ContextMaker::Ranking {
  const DocumentIndex* index = nullptr;
  const AskedQuestion* question = nullptr;
  int64_t budget = 0;  // tokens
};

// Text work of documents and of cases, on the pool.
template <typename Fn>
void ContextMaker::each_run(Runs runs, const Fn& fn) const {
  tools_.ctx.pool->run(static_cast<int64_t>(runs.size()),
                       [&](int64_t r) { fn(static_cast<size_t>(r)); });
}

template <typename Fn>
void ContextMaker::each_case(Runs runs, const Fn& fn) const {
  std::vector<std::pair<size_t, size_t>> places;  // run, case
  for (size_t r = 0; r < runs.size(); ++r) {
    for (size_t i = 0; i < runs[r].cases.size(); ++i) {
      places.emplace_back(r, i);
    }
  }
  tools_.ctx.pool->run(static_cast<int64_t>(places.size()), [&](int64_t p) {
    const auto [r, i] = places[static_cast<size_t>(p)];
    fn(r, i, runs[r].out[i]);
  });
}

}  // namespace offbook::evaluate
