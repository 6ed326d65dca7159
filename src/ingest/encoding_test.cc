#include "src/ingest/encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/ingest/test_files.h"

namespace offbook::ingest {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::string_literals;

DecodedText decode(std::string_view bytes, std::string_view declared = {}) {
  return decode_text(bytes_of(bytes), declared);
}

TEST(Encoding, Utf8WithAndWithoutMarkIsItself) {
  EXPECT_EQ(decode("naïve 日本").text, "naïve 日本");
  const DecodedText marked = decode("\xEF\xBB\xBFnaïve");
  EXPECT_EQ(marked.text, "naïve");
  EXPECT_EQ(marked.encoding, "UTF-8");
  EXPECT_THAT(marked.warnings, IsEmpty());
}

TEST(Encoding, LineEndsBecomeNewlines) {
  EXPECT_EQ(decode("a\r\nb\rc\n\r\nd\r").text, "a\nb\nc\n\nd\n");
}

TEST(Encoding, Utf16WithMarkInBothOrders) {
  EXPECT_EQ(decode("\xFF\xFEh\0i\0=\xD8\x00\xDE"s).text, "hi😀");
  EXPECT_EQ(decode("\xFE\xFF\0h\0i\xD8=\xDE\x00"s).text, "hi😀");
}

TEST(Encoding, Utf16WithoutMarkIsNamed) {
  const DecodedText out = decode("h\0e\0l\0l\0o\0 \0w\0o\0r\0l\0d\0"s);
  EXPECT_EQ(out.text, "hello world");
  EXPECT_THAT(out.warnings, ElementsAre(HasSubstr("UTF-16LE")));
}

TEST(Encoding, BrokenUtf16IsReplacedAndNamed) {
  const DecodedText out = decode("\xFF\xFEh\0=\xD8i\0\x41"s);
  EXPECT_EQ(out.text, "h\uFFFDi\uFFFD");
  EXPECT_THAT(out.warnings, ElementsAre(HasSubstr("half"), HasSubstr("1 unpaired")));
}

TEST(Encoding, SingleByteTextIsReadByRuleAndNamed) {
  const DecodedText cp1252 = decode("caf\xE9 \x93quoted\x94 \x80");
  EXPECT_EQ(cp1252.text, "café “quoted” €");
  EXPECT_THAT(cp1252.warnings, ElementsAre(HasSubstr("read as Windows-1252")));
  const DecodedText latin1 = decode("caf\xE9");
  EXPECT_EQ(latin1.encoding, "ISO-8859-1");
  EXPECT_THAT(latin1.warnings, ElementsAre(HasSubstr("offset 3")));
}

TEST(Encoding, MixedEncodingsKeepTheUtf8Part) {
  const DecodedText out = decode("één, twéé, dríé \xE9");
  EXPECT_EQ(out.text, "één, twéé, dríé é");
  EXPECT_THAT(out.warnings, ElementsAre(HasSubstr("mixed encodings")));
}

TEST(Encoding, DeclaredEncodingIsUsedWhereTheTextIsNotUtf8) {
  EXPECT_EQ(decode("\xEF\xF0", "KOI8-R").text, "ОП");
  EXPECT_EQ(decode("naïve", "koi8-r").text, "naïve");
  // A module of iconv that is not on the list is never opened.
  EXPECT_EQ(decode("\xE9", "ISO-2022-CN-EXT").encoding, "ISO-8859-1");
}

TEST(Encoding, DeclarationsAreFound) {
  EXPECT_EQ(declared_encoding(bytes_of(R"(<meta charset="Windows-1251">)")), "windows-1251");
  EXPECT_EQ(declared_encoding(bytes_of(R"(<?xml version="1.0" encoding='koi8-r'?>)")), "koi8-r");
  EXPECT_EQ(declared_encoding(bytes_of("<p>none")), "");
}

TEST(Encoding, BinaryIsRefused) {
  EXPECT_THROW(decode("abc\0def"s), Error);
  EXPECT_THROW(decode("\x01\x02\x03\x04\x05 hello"), Error);
  EXPECT_FALSE(looks_like_text(bytes_of("\x7f\x45\x4c\x46\0\0"s)));
  EXPECT_TRUE(looks_like_text(bytes_of("plain")));
}

}  // namespace
}  // namespace offbook::ingest
