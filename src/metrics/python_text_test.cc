#include "src/metrics/python_text.h"

namespace offbook::metrics {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PythonText, LowersLikePython) {
  EXPECT_EQ(python_lower("ABC xyz 1"), "abc xyz 1");
  EXPECT_EQ(python_lower("İ"), "i\u0307");
  EXPECT_EQ(python_lower("ΟΔΟΣ ΣΑΣ"), "οδος σας");  // the sigma that ends a word
  EXPECT_EQ(python_lower("Σ"), "σ");                // but not one that is the word
  EXPECT_EQ(python_lower("\u212A"), "k");           // Kelvin sign becomes ASCII
}

TEST(PythonText, UppersWithGrowth) {
  EXPECT_EQ(python_upper("straße ﬁn ŉ"), "STRASSE FIN ʼN");
  EXPECT_EQ(python_upper("éa1"), "ÉA1");
}

TEST(PythonText, SplitsAtEverySpacePythonKnows) {
  EXPECT_THAT(python_split(" a\u00A0b\u3000c\x1C"
                           "d\u0085e "),
              ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(python_split("zero\u200Bwidth"), ElementsAre("zero\u200Bwidth"));
  EXPECT_THAT(python_split(" \n "), IsEmpty());
  EXPECT_EQ(python_strip("\u2003 a b \n"), "a b");
  EXPECT_EQ(python_rstrip(" a\u2028"), " a");
}

TEST(PythonText, IllFormedBytesAreReplacementCharacters) {
  EXPECT_EQ(code_points("a\xFF\xE2\x82z"), (std::u32string{U'a', 0xFFFD, 0xFFFD, U'z'}));
  EXPECT_EQ(python_lower("A\xFF"), "a\uFFFD");
}

TEST(PythonText, DigitsOfEveryScript) {
  EXPECT_EQ(python_digit('7'), 7);
  EXPECT_EQ(python_digit(U'٣'), 3);
  EXPECT_EQ(python_digit(U'\U0001D7D9'), 1);  // the second run of touching mathematical digits
  EXPECT_EQ(python_digit(U'²'), -1);
  EXPECT_TRUE(is_python_word(U'²'));
  EXPECT_FALSE(is_python_word(U'\u0301'));
}

}  // namespace
}  // namespace offbook::metrics
