#include "src/text/unicode.h"

#include <gtest/gtest.h>

#include "src/text/aligned_text.h"

namespace offbook::text {
namespace {

using namespace std::string_literals;

// What Python's bytes.decode("utf-8", "replace") gives.
struct Repair {
  std::string bytes, text;
};
const std::vector<Repair>& repairs() {
  static const std::vector<Repair> kRepairs = {
      {"plain", "plain"},
      {"\xff\xfe", "��"},
      {"cut \xf0\x9f\x98", "cut �"},
      {"\xf0\x9f\x98x", "�x"},
      {"\xf0\x80\x80", "���"},
      {"\xed\xa0\x80", "���"},
      {"\xc0\xaf", "��"},
      {"\xf4\x90\x80\x80", "����"},
      {"\xe4\xb8\xad\xe6", "中�"},
      {"\xe2\x82\xe2\x82\xac", "�€"},
      {"\x80 \xc3", "� �"},
  };
  return kRepairs;
}

TEST(Utf8, IllFormedBytesReadAsPythonReadsThem) {
  for (const Repair& repair : repairs()) {
    EXPECT_EQ(to_valid_utf8(repair.bytes), repair.text);
    EXPECT_EQ(repair_utf8(repair.bytes).text, repair.text);
    EXPECT_EQ(find_invalid_utf8(repair.bytes) == std::string::npos, repair.bytes == repair.text);
  }
}

TEST(Utf8, EveryScalarValueComesBack) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) {
      continue;
    }
    std::string bytes;
    append_utf8(bytes, code);
    const Utf8Char c = decode_utf8(bytes, 0);
    ASSERT_TRUE(c.is_valid && c.code == code && c.length == bytes.size())
        << static_cast<uint32_t>(code);
  }
}

TEST(Utf8, SurrogatesAndLargeValuesAreReplaced) {
  std::string out;
  append_utf8(out, 0xD800);
  append_utf8(out, 0x110000);
  EXPECT_EQ(out, "��");
}

TEST(Utf8, InvalidByteIsFoundAtEveryOffset) {
  for (size_t at = 0; at < 40; ++at) {
    std::string text(40, 'a');
    text[at] = '\xff';
    EXPECT_EQ(find_invalid_utf8(text), at);
  }
}

TEST(Utf8, PrefixHoldsBackOnlyWhatCanStillBecomeACharacter) {
  EXPECT_EQ(complete_utf8_prefix("ab"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xf0\x9f\x98"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xf0\x9f"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xc3"), 2u);
  EXPECT_EQ(complete_utf8_prefix("é"), 2u);
  EXPECT_EQ(complete_utf8_prefix("a\x80\x80"), 3u);  // belongs to nothing
  EXPECT_EQ(complete_utf8_prefix("a\xed\xa0"), 3u);  // a surrogate: already ill-formed
  EXPECT_EQ(complete_utf8_prefix("\xff"), 1u);
}

TEST(Normalize, FormsOfOneText) {
  EXPECT_EQ(normalize("e\u0301\ufb01", NormalForm::nfc), "éﬁ");
  EXPECT_EQ(normalize("éﬁ", NormalForm::nfd), "e\u0301ﬁ");
  EXPECT_EQ(normalize("e\u0301ﬁ①", NormalForm::nfkc), "éfi1");
}

TEST(Normalize, LongRunsOfMarksAreOrderedInTime) {
  std::string text = "a";
  for (int i = 0; i < 100'000; ++i) {
    text += "\u0301\u0323";
  }
  const std::string nfc = normalize(text, NormalForm::nfc);
  EXPECT_EQ(nfc.substr(0, 3), "ạ");
  EXPECT_EQ(nfc.size(), 3u + 2 * 99'999 + 2 * 100'000);
  EXPECT_EQ(nfc.find("\u0301"), 3u + 2 * 99'999);
  EXPECT_EQ(normalize_aligned(text, NormalForm::nfc).text, nfc);
}

TEST(AlignedText, NormalisesAsTheWholeTextDoes) {
  const std::string text =
      "plain é e\u0301\u0323 \u1100\u1161\u11a8각 \uac00\u11a8 a\u030a\u212b ﾊﾟ ﬁ ক\u09c7\u09be 漢 "
      "\u0344 x\u0300";
  for (const auto form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd}) {
    EXPECT_EQ(normalize_aligned(text, form).text, normalize(text, form));
  }
}

TEST(AlignedText, SpansLeadBackToTheSource) {
  const AlignedText aligned = normalize_aligned("ab e\u0301 cd", NormalForm::nfc);
  ASSERT_EQ(aligned.text, "ab é cd");
  EXPECT_EQ(aligned.map.to_source({0, 2}), (ByteSpan{0, 2}));
  EXPECT_EQ(aligned.map.to_source({3, 5}), (ByteSpan{3, 6}));
  EXPECT_EQ(aligned.map.to_source({4, 5}), (ByteSpan{3, 6}));  // an edit is never split
  EXPECT_EQ(aligned.map.to_source({6, 8}), (ByteSpan{7, 9}));
}

TEST(AlignedText, InsertionsAndDeletions) {
  AlignedBuilder builder;
  builder.replace("_", 0);
  builder.keep("ab");
  builder.replace("", 3);
  builder.keep("cd");
  const AlignedText aligned = builder.take();
  ASSERT_EQ(aligned.text, "_abcd");
  EXPECT_EQ(aligned.map.to_source({0, 3}), (ByteSpan{0, 2}));
  EXPECT_EQ(aligned.map.to_source({1, 3}), (ByteSpan{0, 2}));
  EXPECT_EQ(aligned.map.to_source({3, 5}), (ByteSpan{5, 7}));
  EXPECT_EQ(aligned.map.to_source({2, 4}), (ByteSpan{1, 6}));
}

TEST(AlignedText, RepairedBytesKeepTheirPlace) {
  const AlignedText aligned = repair_utf8(
      "a\xff"
      "b");
  ASSERT_EQ(aligned.text, "a�b");
  EXPECT_EQ(aligned.map.to_source({1, 4}), (ByteSpan{1, 2}));
  EXPECT_EQ(aligned.map.to_source({4, 5}), (ByteSpan{2, 3}));
}

TEST(AlignedText, WesternTextNeedsNoWork) {
  EXPECT_FALSE(may_change("plain text", NormalForm::nfkc));
  EXPECT_FALSE(may_change("naïve café", NormalForm::nfc));
  EXPECT_TRUE(may_change("naïve", NormalForm::nfd));
}

TEST(Characters, WhiteSpaceAndCategories) {
  EXPECT_TRUE(is_white_space(0x85) && is_white_space(0x3000) && is_white_space('\t'));
  EXPECT_FALSE(is_white_space(0x200B) || is_white_space('a'));
  EXPECT_EQ(general_category('A'), "Lu");
  EXPECT_EQ(general_category(0x301), "Mn");
}

}  // namespace
}  // namespace offbook::text
