// Did the right place come back: citations against gold spans, ranked lists, abstentions.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/records/document.h"

namespace offbook::metrics {

// A stretch of one document, as a citation names it and as a gold annotation does.
struct CitedSpan {
  std::string document_id;
  ByteSpan span;  // of the document's text
};

// When a cited span counts as holding a gold span.
enum class CitationMatch {
  whole,   // the gold span lies inside the cited one
  overlap  // they share at least one byte
};

struct CitationScore {
  int cited = 0;      // citations given
  int supported = 0;  // of these, those that hold a gold span
  int gold = 0;       // gold spans
  int found = 0;      // of these, those that some citation holds
  CitationScore& operator+=(const CitationScore& other);
  // Shares in [0, 1]; nothing where there is nothing to count (no citation, no gold span), so that
  // an answer without citations does not pass for a precise one.
  std::optional<double> precision() const;
  std::optional<double> recall() const;
};

// Empty spans (begin == end) match nothing. InvalidArgument for a span that ends before it begins.
CitationScore score_citations(std::span<const CitedSpan> cited, std::span<const CitedSpan> gold,
                              CitationMatch match);

// For data without gold spans: how many cited texts hold one of the answers (whole words after
// SQuAD's normalisation). `gold` and `found` count the question once.
CitationScore score_cited_texts(std::span<const std::string> cited_texts,
                                std::span<const std::string> answers);

// Share of the gold ids among the first k of a ranking; repeats in the ranking take a place.
// InvalidArgument without a gold id.
double recall_at(size_t k, std::span<const int64_t> ranking, std::span<const int64_t> gold);
// 1 / rank of the first gold id, 0 where none is ranked.
double reciprocal_rank(std::span<const int64_t> ranking, std::span<const int64_t> gold);

// Whether an answer says that there is none: empty, or after normalisation "unanswerable", "no
// answer", "not answerable", "cannot be answered", "not in documents" ("the" is dropped by
// normalisation) or "i dont know", alone or as the beginning.
bool is_abstention(std::string_view prediction);
// Whether the accepted answers say so: none at all, or only abstentions.
bool is_unanswerable(std::span<const std::string> references);

// Answering and abstaining against what the document can answer.
struct AbstentionCounts {
  int answered_answerable = 0;
  int abstained_answerable = 0;   // wrongly silent
  int answered_unanswerable = 0;  // made something up
  int abstained_unanswerable = 0;

  void add(bool is_answerable, bool abstained);
  AbstentionCounts& operator+=(const AbstentionCounts& other);
  int total() const;
  // Of the decision to abstain; nothing where nothing was counted.
  std::optional<double> precision() const;
  std::optional<double> recall() const;
  std::optional<double> accuracy() const;
};

}  // namespace offbook::metrics
