#include "src/metrics/text_scores.h"

#include "src/base/error.h"
#include "src/metrics/lcs.h"

namespace offbook::metrics {
namespace {

using Strings = std::vector<std::string>;

TEST(TextScores, NormalisesAsSquad) {
  EXPECT_EQ(normalize_answer("  The  Cat, an owl & a fox! "), "cat owl fox");
  EXPECT_EQ(normalize_answer("theatre an-other a.b"), "theatre another ab");
  EXPECT_EQ(normalize_answer("a–b"), "–b");  // an en dash is no ASCII punctuation but a word border
  EXPECT_EQ(normalize_answer("The"), "");
}

TEST(TextScores, TokenF1TakesTheBestReference) {
  EXPECT_DOUBLE_EQ(token_f1("a red red fox", Strings{"the red fox", "dog"}), 0.8);
  EXPECT_EQ(token_f1("", Strings{"", "x"}), 0);
  EXPECT_EQ(exact_match("The Fox.", Strings{"dog", "fox"}), 1);
  EXPECT_THROW(token_f1("x", Strings{}), Error);
  EXPECT_THROW(exact_match("x", Strings{}), Error);
}

TEST(TextScores, AnUnanswerableQuestionIsRightWhenNothingIsSaid) {
  EXPECT_EQ(squad2_score("", {}).f1, 1);
  EXPECT_EQ(squad2_score("the", Strings{"!"}).exact, 1);
  EXPECT_EQ(squad2_score("fox", {}).f1, 0);
  EXPECT_EQ(squad2_score("", Strings{"", "fox"}).exact, 0);  // the empty reference is left out
}

TEST(TextScores, ContainmentHasFourMeanings) {
  EXPECT_EQ(contains_exactly("key is 0042.", Strings{"0042"}), 1);
  EXPECT_EQ(contains_exactly("Paris", Strings{"paris"}), 0);
  EXPECT_EQ(contains_normalized("It was PARIS, then.", Strings{"the Paris!"}), 1);
  EXPECT_EQ(contains_normalized("a party", Strings{"art"}), 0);
  EXPECT_EQ(contains_normalized("anything", Strings{"the"}), 0);
  EXPECT_EQ(contains_quito("caf\u00E9 bar", Strings{"CAF\u00EB"}), 1);
  const std::vector<Strings> sets = {{"Ali Daei", "Daei"}, {"Bican"}};
  EXPECT_EQ(asqa_em_recall("ali daei scored", sets), 0.5);
}

TEST(TextScores, EditSimilarityIsIndel) {
  EXPECT_DOUBLE_EQ(edit_similarity("abcd", "abxd"), 0.75);
  EXPECT_EQ(edit_similarity("", ""), 1);
  EXPECT_EQ(edit_similarity("", "a"), 0);
  EXPECT_DOUBLE_EQ(edit_similarity("é", "éa"), 2.0 / 3);  // characters, not bytes
  EXPECT_DOUBLE_EQ(longbench_code_similarity("\n# a\nfoo(b)\nx", "foo(c)"), 0.83);
  EXPECT_EQ(longbench_code_similarity("# only", "x"), 0);
  // 7.5%, which fuzzywuzzy's arithmetic sees below the half: 3 common characters of 40 and 40.
  const std::string left = std::string("abc").append(37, 'x');
  const std::string right = std::string("abc").append(37, 'y');
  EXPECT_DOUBLE_EQ(longbench_code_similarity(left, right), 0.07);
}

TEST(TextScores, HotpotPredictionsEndAtTheFirstFullStop) {
  EXPECT_EQ(before_full_stop("Paris. Because"), "Paris");
  EXPECT_EQ(before_full_stop("Paris"), "Paris");
}

TEST(Lcs, LengthEqualsPositionsOnRandomSequences) {
  uint32_t state = 1;
  const auto random = [&](uint32_t below) {
    return (state = state * 1664525 + 1013904223) / 65536 % below;
  };
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<uint32_t> a(random(200)), b(random(200));
    for (auto* list : {&a, &b}) {
      for (uint32_t& value : *list) {
        value = random(2 + static_cast<uint32_t>(trial) % 7);
      }
    }
    const auto positions = lcs_positions(a, b);
    EXPECT_EQ(lcs_length(a, b), positions.size());
    EXPECT_EQ(lcs_length(a, b), lcs_length(b, a));
    EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
  }
}

}  // namespace
}  // namespace offbook::metrics
