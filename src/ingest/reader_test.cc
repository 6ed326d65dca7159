#include "src/ingest/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/ingest/content_hash.h"
#include "src/ingest/test_files.h"

namespace offbook::ingest {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using namespace std::string_literals;

TEST(Reader, FillsInWhatIsNotTheFormats) {
  const ReadResult result = read_bytes("minutes/a.txt", "One.\n\nTwo.\n");
  expect_sound(result.document);
  EXPECT_EQ(result.document.path, "minutes/a.txt");
  EXPECT_EQ(result.document.id, hash_text("minutes/a.txt"));
  EXPECT_EQ(result.document.title, "a.txt");
  EXPECT_EQ(result.document.media_type, "text/plain");
  EXPECT_EQ(result.document.content_hash, hash_bytes(bytes_of("One.\n\nTwo.\n")));
  EXPECT_EQ(result.document.source_bytes, 11u);
  EXPECT_EQ(result.document.text, "One.\n\nTwo.\n");
}

TEST(Reader, HashIsXxh3OfTheBytes) {
  EXPECT_EQ(hash_text(""), "99aa06d3014798d86001c324468d497f");  // XXH3-128's published empty hash
}

TEST(Reader, NameAndContentChooseTheFormat) {
  EXPECT_EQ(format_of_name("a/B.PDF")->id, "pdf");
  EXPECT_EQ(format_of_name("LICENSE")->id, "txt");
  EXPECT_EQ(format_of_name("a.b/x.unknown"), nullptr);
  const ReadResult docx = read_bytes("a.txt", make_docx("<w:p><w:r><w:t>hi</w:t></w:r></w:p>"));
  EXPECT_EQ(docx.document.text, "hi\n");
  EXPECT_THAT(docx.warnings, ElementsAre(HasSubstr("is named .txt but holds")));
  EXPECT_EQ(read_bytes("page", "<!DOCTYPE html><p>x").document.media_type, "text/html");
}

TEST(Reader, RefusalsNameThePathAndWhatItIs) {
  EXPECT_THAT(refusal("d/a.txt", "ab\0cd"s),
              AllOf(StartsWith("unsupported: d/a.txt: not text"), HasSubstr("offset 2")));
  EXPECT_THAT(refusal("a.txt", "\x89PNG\r\n\x1a\n\0"s), HasSubstr("a PNG image"));
  EXPECT_THAT(refusal("a.docx", "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 old"), HasSubstr("encrypted"));
  EXPECT_THAT(refusal("a.docx", "just words"), HasSubstr("does not begin like one"));
  EXPECT_THAT(refusal("a.zip", make_zip({{"a.txt", "x"}})), HasSubstr("neither a docx"));
  EXPECT_THAT(refusal("a.xyz", "words"), HasSubstr("no reader for .xyz"));
  EXPECT_EQ(refusal("a.txt", ""), "unsupported: a.txt: is empty");
  EXPECT_EQ(refusal("a.txt", " \n \xC2\xA0\n"), "unsupported: a.txt: holds no text");
}

TEST(Reader, LimitsRefuseWithTheirFigures) {
  ReadOptions options;
  options.limits.max_file_bytes = 1000;
  EXPECT_THAT(refusal("a.txt", std::string(2048, 'x'), options),
              AllOf(HasSubstr("2.0 KiB"), HasSubstr("limit of 1000 bytes")));
  options.limits.max_file_bytes = 1 << 20;
  options.limits.max_text_bytes = 1000;
  for (const char* name : {"a.txt", "a.md", "a.html", "a.csv"}) {
    EXPECT_THAT(refusal(name, "h\n" + std::string(2048, 'x') + "\n", options),
                name == "a.csv"s ? HasSubstr("limit of 1000 bytes") : HasSubstr("limit of 1000"));
  }
}

TEST(ReadText, FormFeedsBeginPages) {
  const Document document = read_bytes("a.txt", "one\n\ftwo\n\f\n\ffour").document;
  expect_sound(document);
  ASSERT_EQ(document.sections.size(), 3u);
  EXPECT_EQ(document.sections[1].page, 2);
  EXPECT_EQ(document.sections[2].page, 4);
  EXPECT_EQ(section_text(document, 1), "two\n\n");
}

TEST(ReadText, OneLongLineIsRead) {
  const std::string line(8 << 20, 'w');
  EXPECT_EQ(read_bytes("a.txt", line).document.text.size(), line.size() + 1);
}

TEST(ReadMarkdown, HeadingsMakeSectionsAndMarksGo) {
  const Document document = read_bytes("a.md",
                                       "# Guide\n\nSome *words* with a\n[link](http://x.org).\n\n"
                                       "## Parts\n\n- one `code`\n- two\n  1. deep\n\n"
                                       "| A | B |\n|---|---|\n| 1 | 2 |\n\n```\nx  = 1\n\ny\n```\n"
                                       "# Next\n<div>raw <b>html</b></div>\n")
                                .document;
  expect_sound(document);
  EXPECT_EQ(document.title, "Guide");
  EXPECT_EQ(document.text,
            "Guide\n\nSome words with a link.\n\nParts\n\n- one code\n- two\n  1. deep\n\nA | B\n"
            "1 | 2\n\nx  = 1\n\ny\n\nNext\n\nraw html\n");
  ASSERT_EQ(document.sections.size(), 3u);
  EXPECT_THAT(document.sections[1].headings, ElementsAre("Guide", "Parts"));
  EXPECT_THAT(document.sections[2].headings, ElementsAre("Next"));
}

TEST(ReadMarkdown, FrontMatterGivesTheTitle) {
  const Document document =
      read_bytes("a.md", "---\ntitle: \"The Plan\"\nauthor: X\n---\n# Other\ntext\n").document;
  EXPECT_EQ(document.title, "The Plan");
  EXPECT_THAT(document.text, StartsWith("title: \"The Plan\"\nauthor: X\n\nOther"));
}

TEST(ReadMarkdown, TanglesAreRefusedAtALimit) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) {
    deep += "> ";
  }
  EXPECT_THAT(refusal("a.md", deep + "x"), HasSubstr("nested more than 512"));
  EXPECT_THAT(refusal("a.md", std::string(200'000, '[')), HasSubstr("nested more than 512"));
  ReadOptions tight;
  tight.limits.max_parser_bytes = 10'000;
  EXPECT_THAT(refusal("a.md", std::string(50'000, 'a'), tight), HasSubstr("more memory"));
}

TEST(ReadHtml, BlocksListsTablesAndHeadings) {
  const Document document =
      read_bytes("a.html",
                 "<html><head><title>The &amp; Page</title><style>p{}</style></head><body>"
                 "<nav>menu</nav><h1>Top <i>level</i></h1><p>One\n two<br>three&nbsp;four"
                 "<script>evil()</script></p><ul><li>a<li>b<ol><li>c</ol></ul><table><tr><th>x"
                 "<th>y</tr><tr><td>1<td>2</tr></table><h3><div>Deep</div></h3><pre>a\n  b</pre>"
                 "<p hidden>no</p></body></html>")
          .document;
  expect_sound(document);
  EXPECT_EQ(document.title, "The & Page");
  EXPECT_EQ(document.text,
            "Top level\n\nOne two\nthree four\n\n- a\n- b\n  1. c\n\nx | y\n1 | 2\n\nDeep\n\n"
            "a\n  b\n");
  EXPECT_THAT(document.sections.back().headings, ElementsAre("Top level", "Deep"));
}

TEST(ReadHtml, CharsetAndXhtml) {
  EXPECT_EQ(read_bytes("a.html", "<meta charset=koi8-r><p>\xF0\xF2").document.text, "ПР\n");
  EXPECT_EQ(read_bytes("a.xhtml",
                       "<?xml version='1.0'?><html><head><title/><script src='x'/>"
                       "</head><body><p>kept</p></body></html>")
                .document.text,
            "kept\n");
}

TEST(ReadHtml, DeepNestingIsRefusedAndUnclosedParagraphsAreNot) {
  std::string deep, soup;
  for (int i = 0; i < 100'000; ++i) {
    deep += "<div>";
    soup += "<p>x<li>y";
  }
  EXPECT_THAT(refusal("a.html", deep + "x"), HasSubstr("nested more than 512 deep"));
  EXPECT_EQ(refusal("a.html", soup), "");
}

TEST(ReadHtml, ManyAttributesMeetTheTimeLimit) {
  // Each attribute is compared with all before it: quadratic in the parser.
  std::string page = "<p ";
  for (int i = 0; i < 400'000; ++i) {
    page += fmt::format("a{} ", i);
  }
  ReadOptions options;
  options.limits.max_parser_seconds = 1;
  EXPECT_THAT(refusal("a.html", page + ">x", options), HasSubstr("longer than the limit of 1 s"));
}

TEST(ReadCsv, RecordsAreSectionsWithNames) {
  const Document document =
      read_bytes("a.csv", "name,note\nAda,\"says \"\"hi\"\", twice\nand again\"\n\nBob,\n")
          .document;
  expect_sound(document);
  EXPECT_EQ(document.text, "name: Ada\nnote: says \"hi\", twice\nand again\n\nname: Bob\n");
  ASSERT_EQ(document.sections.size(), 2u);
  EXPECT_THAT(document.sections[1].headings, ElementsAre("#2"));
}

TEST(ReadCsv, OtherDelimitersUnevenAndBroken) {
  EXPECT_EQ(read_bytes("a.csv", "a;b\n1,5;2\n").document.text, "a: 1,5\nb: 2\n");
  EXPECT_EQ(read_bytes("a.tsv", "a\tb\n1\t2").document.text, "a: 1\nb: 2\n");
  const ReadResult uneven = read_bytes("a.csv", "a,b\n1,2,3\n4\n");
  EXPECT_EQ(uneven.document.text, "a: 1\nb: 2\ncolumn 3: 3\n\na: 4\n");
  EXPECT_THAT(uneven.warnings, ElementsAre(HasSubstr("2 records")));
  EXPECT_THAT(refusal("a.csv", "a,b\n1,\"open\n2,3\n"),
              HasSubstr("corrupt: a.csv: the quote opened on line 2"));
}

TEST(ReadJsonl, FieldsTitlesAndBadLines) {
  const ReadResult result =
      read_bytes("a.jsonl",
                 "{\"title\":\"T\",\"text\":\"one\\r\\ntwo\\u0000\"}\nnot json\n\n{\"x\":1}\n[1]\n"
                 "{\"text\":[\"p\",\"q\"]}\n");
  expect_sound(result.document);
  EXPECT_EQ(result.document.text, "one\ntwo\n\np\n\nq\n");
  EXPECT_THAT(result.document.sections[0].headings, ElementsAre("#1 T"));
  EXPECT_THAT(result.document.sections[1].headings, ElementsAre("#6"));
  EXPECT_THAT(result.warnings,
              ElementsAre(AllOf(HasSubstr("3 lines left out"), HasSubstr("line 2 is not JSON"))));
}

TEST(ReadJsonl, FieldsAreTheUsersChoice) {
  ReadOptions options;
  options.jsonl_text_fields = {"question", "body"};
  options.jsonl_title_fields = {"name"};
  const Document document =
      read_bytes("a.jsonl", R"({"body":"B","question":"Q","name":"N"})", options).document;
  EXPECT_EQ(document.text, "Q\n\nB\n");
  EXPECT_THAT(document.sections[0].headings, ElementsAre("#1 N"));
  EXPECT_THAT(refusal("a.jsonl", R"({"body":"B"})"),
              HasSubstr("line 1 has no text in text (its fields: body)"));
}

TEST(ReadJsonl, DeepNestingIsRefused) {
  EXPECT_THAT(refusal("a.jsonl", std::string(1 << 20, '[')), HasSubstr("nested more than 512"));
}

}  // namespace
}  // namespace offbook::ingest
