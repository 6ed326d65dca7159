// Which of the passages found the model gets as raw text, under one token budget.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/retrieve/retriever.h"
#include "src/text/tokenizer.h"

namespace offbook::answer {

struct FocusOptions {
  int budget_tokens = 640;  // of raw text, in the language model's tokens
  int max_passages = 4;     // of the retrieval, before neighbours are joined
};

// A stretch of one document that goes into the prompt: one passage, or neighbours joined so that
// their overlap is read once.
struct FocusText {
  int64_t document = 0;
  std::string path, title;
  std::vector<std::string> headings;  // of its first passage
  std::optional<int> page;
  ByteSpan span;
  std::string text;               // the document's text at `span`
  std::vector<Passage> passages;  // in document order, at least one
  int rank = 0;                   // of its best passage, from 0
  int tokens = 0;
};

// Takes passages from the best on while they fit (one that does not is passed over), joins
// neighbours, and gives them best first. Nothing is cut: a passage goes in whole or not at all, so
// the result is empty when not even the best fits.
std::vector<FocusText> focus(store::Corpus& corpus, std::span<const retrieve::RankedPassage> ranked,
                             const text::Tokenizer& tokenizer, const FocusOptions& options);

}  // namespace offbook::answer
