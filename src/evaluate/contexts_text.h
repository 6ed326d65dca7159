// What the parts of ContextMaker share; for contexts*.cc only.
#pragma once
#include "src/evaluate/contexts.h"

namespace offbook::evaluate {

// A document, or passages of one in its place, with what cells share.
struct ContextMaker::Text {
  const CaseDocument* document = nullptr;
  std::string hash;
  text::Encoding tokens;
  std::map<int64_t, std::unique_ptr<DocumentIndex>> indexes;       // by passage size
  std::map<std::string, std::vector<CompressedContext>> contexts;  // by method and budgets
};

// How one cell's passages are ranked for one question.
struct ContextMaker::Ranking {
  const DocumentIndex* index = nullptr;
  const AskedQuestion* question = nullptr;
  int64_t budget = 0;  // tokens
};

// Text work of cases, on the pool.
template <typename Fn>
void ContextMaker::each_case(const Run& run, const Fn& fn) const {
  tools_.ctx.pool->run(static_cast<int64_t>(run.cases.size()), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    fn(at, run.one(at), run.out[at]);
  });
}

}  // namespace offbook::evaluate
