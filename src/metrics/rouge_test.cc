#include "src/metrics/rouge.h"

#include "src/base/error.h"
#include "src/metrics/porter_stemmer.h"

namespace offbook::metrics {
namespace {

using Strings = std::vector<std::string>;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Rouge, TokensAreLowerAsciiRuns) {
  EXPECT_THAT(rouge_tokens("It's 3.5 Naïve-K\u212A", Stemming::none),
              ElementsAre("it", "s", "3", "5", "na", "ve", "kk"));
  EXPECT_THAT(rouge_tokens("日本語", Stemming::none), IsEmpty());
  EXPECT_THAT(rouge_tokens("dies running", Stemming::porter), ElementsAre("die", "run"));
  EXPECT_THAT(rouge_tokens("was", Stemming::porter), ElementsAre("was"));  // three letters stay
}

TEST(Rouge, HandCase) {
  const RougeScores scores = rouge("the cat sat", "the cat was on the mat");
  EXPECT_DOUBLE_EQ(scores.rouge_1.precision, 2.0 / 3);
  EXPECT_DOUBLE_EQ(scores.rouge_1.recall, 2.0 / 6);
  EXPECT_DOUBLE_EQ(scores.rouge_2.f1, 2 * 0.5 * 0.2 / 0.7);
  EXPECT_DOUBLE_EQ(scores.rouge_l.f1, 4.0 / 9);
  EXPECT_EQ(rouge("", "x").rouge_l.f1, 0);
}

TEST(Rouge, LsumReadsLinesAsSentences) {
  const RougeScores scores = rouge("c d\na b", "a b\nc d");
  EXPECT_DOUBLE_EQ(scores.rouge_lsum.f1, 1);
  EXPECT_DOUBLE_EQ(scores.rouge_l.f1, 0.5);
}

TEST(Rouge, EveryKindTakesItsOwnBestReference) {
  const RougeScores scores = rouge("b a c", Strings{"a b c x", "c a b"});
  EXPECT_DOUBLE_EQ(scores.rouge_1.f1, 1);
  EXPECT_DOUBLE_EQ(scores.rouge_l.f1, 4.0 / 7);
  EXPECT_THROW(rouge("x", Strings{}), Error);
}

TEST(Rouge, GeometricMeanIsOfTheMeans) {
  RougeScores a, b;
  a.rouge_1.f1 = 0.8, a.rouge_2.f1 = 0.2, a.rouge_l.f1 = 0.4;
  EXPECT_DOUBLE_EQ(scrolls_geometric_mean(std::vector{a, b}), std::cbrt(0.4 * 0.1 * 0.2));
  EXPECT_THROW(scrolls_geometric_mean({}), Error);
}

TEST(PorterStemmer, FollowsNltkExtensions) {
  const std::pair<const char*, const char*> cases[] = {
      {"caresses", "caress"},  {"ponies", "poni"},     {"dies", "die"},
      {"dying", "die"},        {"skies", "sky"},       {"news", "news"},
      {"agreed", "agre"},      {"feed", "feed"},       {"hopping", "hop"},
      {"filing", "file"},      {"happy", "happi"},     {"enjoy", "enjoy"},
      {"rational", "ration"},  {"radically", "radic"}, {"geologi", "geolog"},
      {"controll", "control"}, {"yyyy", "yyyi"},       {"by", "by"},
      {"relational", "relat"}};
  for (const auto& [word, stem] : cases) {
    EXPECT_EQ(porter_stem(word), stem) << word;
  }
}

}  // namespace
}  // namespace offbook::metrics
