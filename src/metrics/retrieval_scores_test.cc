#include "src/metrics/retrieval_scores.h"

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

using Spans = std::vector<CitedSpan>;
using Ids = std::vector<int64_t>;

TEST(Citations, CountsWhatHoldsTheGold) {
  const Spans cited = {{"a", {0, 100}}, {"a", {150, 250}}, {"b", {0, 100}}};
  const Spans gold = {{"a", {20, 40}}, {"a", {90, 110}}, {"c", {0, 5}}};
  const CitationScore whole = score_citations(cited, gold, CitationMatch::whole);
  EXPECT_DOUBLE_EQ(*whole.precision(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(*whole.recall(), 1.0 / 3);
  const CitationScore overlap = score_citations(cited, gold, CitationMatch::overlap);
  EXPECT_EQ(overlap.supported, 1);
  EXPECT_EQ(overlap.found, 2);
}

TEST(Citations, NoCitationIsNotAPreciseOne) {
  const CitationScore none = score_citations({}, Spans{{"a", {0, 1}}}, CitationMatch::whole);
  EXPECT_EQ(none.precision(), std::nullopt);
  EXPECT_EQ(none.recall(), 0.0);
  EXPECT_EQ(score_citations({}, {}, CitationMatch::whole).recall(), std::nullopt);
  EXPECT_THROW(score_citations(Spans{{"a", {5, 1}}}, {}, CitationMatch::whole), Error);
}

TEST(Citations, WithoutGoldSpansTheTextMustHoldTheAnswer) {
  const std::vector<std::string> texts = {"In 1984 it rained.", "nothing"};
  CitationScore score = score_cited_texts(texts, std::vector<std::string>{"1984"});
  EXPECT_EQ(score.precision(), 0.5);
  EXPECT_EQ(score.recall(), 1.0);
  score += score_cited_texts(texts, std::vector<std::string>{"1985"});
  EXPECT_EQ(score.precision(), 0.25);
  EXPECT_EQ(score.recall(), 0.5);
}

TEST(Ranking, RecallAndReciprocalRank) {
  EXPECT_EQ(recall_at(2, Ids{7, 3, 9}, Ids{3, 9}), 0.5);
  EXPECT_EQ(recall_at(10, Ids{7, 3, 9}, Ids{3, 9}), 1);
  EXPECT_THROW(recall_at(1, Ids{1}, Ids{}), Error);
  EXPECT_EQ(reciprocal_rank(Ids{7, 3, 9}, Ids{9, 3}), 0.5);
  EXPECT_EQ(reciprocal_rank(Ids{7}, Ids{3}), 0);
}

TEST(Abstention, IsReadFromTheAnswer) {
  for (const char* text : {"", "Unanswerable.", "unanswerable given the text", "I don't know",
                           "Not in the documents."}) {
    EXPECT_TRUE(is_abstention(text)) << text;
  }
  EXPECT_FALSE(is_abstention("unanswerables"));
  EXPECT_FALSE(is_abstention("The question is old"));
  EXPECT_TRUE(is_unanswerable({}));
  EXPECT_TRUE(is_unanswerable(std::vector<std::string>{"Unanswerable"}));
  EXPECT_FALSE(is_unanswerable(std::vector<std::string>{"Unanswerable", "yes"}));
}

TEST(Abstention, Counts) {
  AbstentionCounts counts;
  EXPECT_EQ(counts.precision(), std::nullopt);
  counts.add(true, false);
  counts.add(true, true);
  counts.add(false, true);
  counts.add(false, false);
  AbstentionCounts twice = counts;
  twice += counts;
  EXPECT_EQ(twice.total(), 8);
  EXPECT_EQ(twice.precision(), 0.5);
  EXPECT_EQ(twice.recall(), 0.5);
  EXPECT_EQ(twice.accuracy(), 0.5);
}

}  // namespace
}  // namespace offbook::metrics
