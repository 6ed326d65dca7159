#include "src/metrics/bleu.h"

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

using Strings = std::vector<std::string>;

TEST(Bleu, TokenizesLikeMteval13a) {
  EXPECT_EQ(tokenize_13a("Hello, world (3.5)! a.b 1,000-2 &amp; don't"),
            "Hello , world ( 3.5 ) ! a . b 1,000 - 2 & don't");
  EXPECT_EQ(tokenize_13a("hyphen-\nated\nword<skipped> "), "hyphenated word");
}

TEST(Bleu, EqualTextsScoreOneHundredAndForeignOnesZero) {
  EXPECT_DOUBLE_EQ(sentence_bleu("a b c d e", Strings{"a b c d e"}), 100);
  EXPECT_DOUBLE_EQ(sentence_bleu("a b", Strings{"a b"}), 100);  // effective order 2
  EXPECT_EQ(bleu(bleu_counts("a b", Strings{"a b"}), BleuOrder::full), 0);
  EXPECT_EQ(sentence_bleu("x", Strings{"a b"}), 0);
  EXPECT_EQ(sentence_bleu("", Strings{""}), 0);
}

TEST(Bleu, ClipsAndPunishesBrevity) {
  const BleuCounts counts = bleu_counts("the the the", Strings{"the cat the mat x", "the"});
  EXPECT_EQ(counts.correct[0], 2);
  EXPECT_EQ(counts.reference_tokens, 1);  // equally close in length: the shorter
  EXPECT_NEAR(sentence_bleu("a b c d", Strings{"a b c d e f g h"}), 100 * std::exp(-1), 1e-9);
}

TEST(Bleu, CorpusIsTheSumOfItsSegments) {
  BleuCounts counts = bleu_counts("a b c d", Strings{"a b c d"});
  counts += bleu_counts("x", Strings{"y"});
  EXPECT_EQ(counts.total[0], 5);
  EXPECT_NEAR(bleu(counts, BleuOrder::full), 100 * std::pow(0.8, 0.25), 1e-9);
  EXPECT_THROW(bleu_counts("x", {}), Error);
}

}  // namespace
}  // namespace offbook::metrics
