#include "src/metrics/retrieval_scores.h"

#include <algorithm>
#include <array>

#include "src/base/error.h"
#include "src/metrics/text_scores.h"

namespace offbook::metrics {
namespace {

std::optional<double> share(int part, int whole) {
  return whole == 0 ? std::nullopt : std::optional(static_cast<double>(part) / whole);
}

bool holds(const CitedSpan& cited, const CitedSpan& gold, CitationMatch match) {
  if (cited.document_id != gold.document_id) {
    return false;
  }
  const uint64_t begin = std::max(cited.span.begin, gold.span.begin);
  const uint64_t end = std::min(cited.span.end, gold.span.end);
  return begin < end &&
         (match == CitationMatch::overlap || (begin == gold.span.begin && end == gold.span.end));
}

void check(std::span<const CitedSpan> spans, std::string_view kind) {
  for (const CitedSpan& span : spans) {
    OB_REQUIRE(span.span.begin <= span.span.end, InvalidArgument,
               "citations of '{}': a {} span with begin ≤ end wanted, {}…{} came", span.document_id,
               kind, span.span.begin, span.span.end);
  }
}

bool contains(std::span<const int64_t> ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

CitationScore& CitationScore::operator+=(const CitationScore& other) {
  cited += other.cited;
  supported += other.supported;
  gold += other.gold;
  found += other.found;
  return *this;
}

std::optional<double> CitationScore::precision() const {
  return share(supported, cited);
}
std::optional<double> CitationScore::recall() const {
  return share(found, gold);
}

CitationScore score_citations(std::span<const CitedSpan> cited, std::span<const CitedSpan> gold,
                              CitationMatch match) {
  check(cited, "cited");
  check(gold, "gold");
  CitationScore score;
  score.cited = static_cast<int>(cited.size());
  score.gold = static_cast<int>(gold.size());
  for (const CitedSpan& citation : cited) {
    score.supported += std::any_of(gold.begin(), gold.end(), [&](const CitedSpan& wanted) {
      return holds(citation, wanted, match);
    });
  }
  for (const CitedSpan& wanted : gold) {
    score.found += std::any_of(cited.begin(), cited.end(), [&](const CitedSpan& citation) {
      return holds(citation, wanted, match);
    });
  }
  return score;
}

CitationScore score_cited_texts(std::span<const std::string> cited_texts,
                                std::span<const std::string> answers) {
  CitationScore score;
  score.cited = static_cast<int>(cited_texts.size());
  score.gold = 1;
  for (const std::string& text : cited_texts) {
    score.supported += contains_normalized(text, answers) == 1;
  }
  score.found = score.supported > 0;
  return score;
}

double recall_at(size_t k, std::span<const int64_t> ranking, std::span<const int64_t> gold) {
  OB_REQUIRE(!gold.empty(), InvalidArgument, "recall at {}: at least one gold id wanted, none came",
             k);
  const auto top = ranking.first(std::min(k, ranking.size()));
  const auto found =
      std::count_if(gold.begin(), gold.end(), [&](int64_t id) { return contains(top, id); });
  return static_cast<double>(found) / static_cast<double>(gold.size());
}

double reciprocal_rank(std::span<const int64_t> ranking, std::span<const int64_t> gold) {
  for (size_t i = 0; i < ranking.size(); ++i) {
    if (contains(gold, ranking[i])) {
      return 1.0 / static_cast<double>(i + 1);
    }
  }
  return 0;
}

bool is_abstention(std::string_view prediction) {
  constexpr std::array<std::string_view, 6> kBeginnings = {"unanswerable",     "no answer",
                                                           "not answerable",   "cannot be answered",
                                                           "not in documents", "i dont know"};
  const std::string text = normalize_answer(prediction);
  return text.empty() ||
         std::any_of(kBeginnings.begin(), kBeginnings.end(), [&](std::string_view beginning) {
           return text.starts_with(beginning) &&
                  (text.size() == beginning.size() || text[beginning.size()] == ' ');
         });
}

bool is_unanswerable(std::span<const std::string> references) {
  return std::all_of(references.begin(), references.end(),
                     [](const std::string& reference) { return is_abstention(reference); });
}

void AbstentionCounts::add(bool is_answerable, bool abstained) {
  ++(is_answerable ? (abstained ? abstained_answerable : answered_answerable)
                   : (abstained ? abstained_unanswerable : answered_unanswerable));
}

AbstentionCounts& AbstentionCounts::operator+=(const AbstentionCounts& other) {
  answered_answerable += other.answered_answerable;
  abstained_answerable += other.abstained_answerable;
  answered_unanswerable += other.answered_unanswerable;
  abstained_unanswerable += other.abstained_unanswerable;
  return *this;
}

int AbstentionCounts::total() const {
  return answered_answerable + abstained_answerable + answered_unanswerable +
         abstained_unanswerable;
}

std::optional<double> AbstentionCounts::precision() const {
  return share(abstained_unanswerable, abstained_unanswerable + abstained_answerable);
}

std::optional<double> AbstentionCounts::recall() const {
  return share(abstained_unanswerable, abstained_unanswerable + answered_unanswerable);
}

std::optional<double> AbstentionCounts::accuracy() const {
  return share(answered_answerable + abstained_unanswerable, total());
}

}  // namespace offbook::metrics
