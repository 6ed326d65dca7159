#include "src/answer/quotes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/store/store_testing.h"

namespace offbook::answer {
namespace {

using store::error_of;

// A corpus of one document, its passages ranked in order.
class QuotesTest : public testing::Test {
 protected:
  void learn(const std::vector<std::string>& lines) {
    generation_ = corpus_.generations().begin(nlohmann::json::object());
    const int64_t number = store::put_document(corpus_, generation_, "doc", lines);
    for (Passage& p : corpus_.documents().passages(number)) {
      retrieval_.passages.push_back({.passage = std::move(p), .path = "doc.txt"});
    }
  }
  QuoteFinder finder(const std::string& question, QuoteOptions options = {}) {
    return QuoteFinder(corpus_, nullptr, question, retrieval_, options);
  }

  store::TemporaryDirectory directory_;
  store::Corpus corpus_ = store::Corpus::create(directory_.path() / "corpus", {});
  int64_t generation_ = 0;
  retrieve::Retrieval retrieval_;
};

TEST_F(QuotesTest, TheSentenceThatHoldsTheAnswerIsQuoted) {
  learn({"The giant was away for long. He stayed with the ogre for seven years. Then he came home.",
         "Nothing of this is said here."});
  const auto f = finder("How long did the giant stay with the ogre?");
  const auto quotes = f.best("Seven years.", 2);
  ASSERT_EQ(quotes.size(), 2u);
  EXPECT_EQ(quotes[0].text, "He stayed with the ogre for seven years.");
  EXPECT_TRUE(f.supports(quotes[0], "Seven years."));
  EXPECT_FALSE(f.supports(quotes[1], "Seven years."));
}

TEST_F(QuotesTest, QuotesAreTheDocumentsBytesAtTheirSpan) {
  learn({"First line of it. A second sentence, with ümlauts.", "Another passage."});
  for (const Quote& q : finder("second").best("", 10)) {
    const Citation c = checked_citation(corpus_, q, 3);
    EXPECT_EQ(corpus_.documents().text(q.document, c.span), c.quote);
    EXPECT_EQ(c.number, 3);
    EXPECT_EQ(c.path, "doc.txt");
  }
}

TEST_F(QuotesTest, AQuoteThatIsNotInTheTextIsRefused) {
  learn({"What was really said."});
  Quote q = finder("said").best("", 1).front();
  q.text = "What was never said. ";
  q.text.resize(q.span.end - q.span.begin);
  EXPECT_EQ(error_of([&] { checked_citation(corpus_, q, 1); }).first, ErrorCode::Corrupt);
}

TEST_F(QuotesTest, OfLikeSentencesThePassageWithTheLargerBm25IsCited) {
  learn({"The gate was closed at noon.", "The gate was opened at dusk."});
  const auto first = [&] { return finder("When was the gate touched?").best("", 1).front(); };
  EXPECT_EQ(first().text, "The gate was closed at noon.");  // by rank
  retrieval_.passages[0].bm25 = 2;
  retrieval_.passages[1].bm25 = 4;
  EXPECT_EQ(first().text, "The gate was opened at dusk.");
  EXPECT_DOUBLE_EQ(first().bm25_share, 1);
}

TEST_F(QuotesTest, NumbersMustAgree) {
  learn({"The grant was 475 million pounds in that year."});
  const auto f = finder("How large was the grant?");
  const Quote q = f.best("", 1).front();
  EXPECT_TRUE(f.supports(q, "475 million pounds"));
  EXPECT_FALSE(f.supports(q, "350 million pounds in that year"));
}

TEST_F(QuotesTest, AnAnswerOfTheQuestionsOwnWordsNeedsThemAll) {
  learn({"The door is red.", "Birds fly south in winter."});
  const auto f = finder("Is the door red?");
  EXPECT_TRUE(f.supports(f.best("", 1).front(), "The door is red"));
  EXPECT_FALSE(f.supports(f.best("", 2).back(), "The door is red"));
  EXPECT_FALSE(f.supports(f.best("", 1).front(), ""));
}

TEST_F(QuotesTest, LongSentencesAreCutBetweenWords) {
  std::string line;
  for (int i = 0; i < 100; ++i) {
    line += "wörter ";
  }
  learn({line + "end."});
  const auto quotes = finder("wörter", {.max_bytes = 101}).best("", 1);
  EXPECT_LE(quotes.front().text.size(), 101u);
  EXPECT_TRUE(quotes.front().text.ends_with("wörter"));
}

TEST_F(QuotesTest, NothingToQuoteGivesNothing) {
  EXPECT_TRUE(finder("anything").best("answer", 3).empty());
}

}  // namespace
}  // namespace offbook::answer
