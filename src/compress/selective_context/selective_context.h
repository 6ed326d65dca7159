// Selective Context (arXiv 2310.06201): drops the units of a text that a small language model finds
// predictable. Needs no question and no training. METHOD.md beside this file.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/compress/selective_context/phrases.h"
#include "src/compress/selective_context/select.h"
#include "src/compress/selective_context/surprisal.h"

namespace offbook::compress {

struct SelectiveContextOptions {
  UnitOptions units;
  SurprisalOptions surprisal;
  // Exactly one of the two: the share of units to drop, or the tokens (of the reader) to keep at
  // most.
  std::optional<double> unit_ratio;
  std::optional<int64_t> token_budget;
};

// The model that finds words predictable; any decoder. Borrowed.
struct Scorer {
  const model::Llama& model;
  const text::Tokenizer& tokenizer;
};

struct SelectedText {
  std::string text;
  std::vector<ByteSpan> spans;  // of the original, that the text's stretches came from, in order
  std::vector<bool> keep;       // one a unit
  int64_t tokens_before = 0;    // of the collapsed text, as `count` has it
  int64_t tokens_after = 0;
};

// A text with its surprisals: what costs time. Selecting from it again, with another ratio or
// level, costs next to nothing.
struct ScoredText {
  CollapsedText collapsed;
  std::vector<ScoredSentence> sentences;
};
ScoredText score_text(const backend::ExecutionContext& ctx, const Scorer& scorer,
                      std::string_view text, const SurprisalOptions& options);

// `phrases` in bytes of the original text; empty: approximate_phrases(). `count` are the reader's
// tokens. InvalidArgument unless exactly one of ratio and budget is set, or for a budget below 0.
SelectedText select_text(const ScoredText& scored, std::span<const ByteSpan> phrases,
                         const TokenCount& count, const SelectiveContextOptions& options);

}  // namespace offbook::compress
