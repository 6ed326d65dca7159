#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/ingest/child_process.h"
#include "src/ingest/reader.h"
#include "src/ingest/test_files.h"
#include "src/ingest/zip_archive.h"

namespace offbook::ingest {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string paragraph(std::string_view text, std::string_view properties = "") {
  return fmt::format("<w:p><w:pPr>{}</w:pPr><w:r><w:t>{}</w:t></w:r></w:p>", properties, text);
}

TEST(ReadDocx, HeadingsListsTablesAndRuns) {
  const std::string body =
      paragraph("Report", R"(<w:pStyle w:val="Heading1"/>)") +
      "<w:p><w:r><w:t>Plain &amp; </w:t></w:r><w:r><w:t>simple</w:t><w:br/><w:t>line</w:t></w:r>"
      "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>" +
      paragraph("Part", R"(<w:pStyle w:val="Sub"/>)") + paragraph("item", "<w:numPr/>") +
      paragraph("item two", "<w:numPr/>") + "<w:tbl><w:tr><w:tc>" + paragraph("a") +
      "</w:tc><w:tc>" + paragraph("b") + paragraph("c") + "</w:tc></w:tr></w:tbl>";
  const Document document = read_bytes("a.docx", make_docx(body)).document;
  expect_sound(document);
  EXPECT_EQ(document.text,
            "Report\n\nPlain & simple\nline\n\nPart\n\n- item\n- item two\n\na | b c\n");
  ASSERT_EQ(document.sections.size(), 2u);
  EXPECT_THAT(document.sections[1].headings, ElementsAre("Report", "Part"));
}

TEST(ReadDocx, EntitiesAndExternalFilesAreRefused) {
  const auto docx = [](const std::string& xml) { return make_zip({{"word/document.xml", xml}}); };
  const std::string xxe =
      R"(<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d><t>&x;</t></d>)";
  EXPECT_THAT(refusal("a.docx", docx(xxe)), HasSubstr("declares entities of its own"));
  std::string laughs = "<!DOCTYPE d [<!ENTITY a0 'ha'>";
  for (int i = 1; i < 40; ++i) {
    laughs += fmt::format("<!ENTITY a{} '&a{};&a{};&a{};'>", i, i - 1, i - 1, i - 1);
  }
  laughs += "]><d><t a='&a39;'>&a39;</t></d>";
  EXPECT_THAT(refusal("a.docx", docx(laughs)), HasSubstr("entity"));
}

TEST(ReadDocx, BrokenFilesAreCorrupt) {
  EXPECT_THAT(refusal("a.docx", make_zip({{"word/document.xml", "<w:d><w:t>x</w:d>"}})),
              HasSubstr("corrupt: a.docx: word/document.xml is not well-formed XML at line 1"));
  const std::string whole = make_docx(paragraph("text"));
  for (size_t size = 4; size < whole.size(); size += 7) {
    EXPECT_NE(refusal("a.docx", whole.substr(0, size)), "") << "cut at " << size;
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i) {
    deep += "<a>";
  }
  EXPECT_THAT(refusal("a.docx", make_zip({{"word/document.xml", deep}})), StartsWith("corrupt"));
}

TEST(ReadDocx, ZipBombsMeetTheLimits) {
  const std::string bomb =
      make_zip({{"word/document.xml", "<d>" + std::string(40 << 20, ' ') + "</d>"}});
  EXPECT_LT(bomb.size(), 100'000u);
  EXPECT_THAT(refusal("a.docx", bomb), HasSubstr("more than 200 times its size"));
  ReadOptions options;
  options.limits.max_archive_ratio = 1'000'000;
  options.limits.max_archive_bytes = 1 << 20;
  EXPECT_THAT(refusal("a.docx", bomb, options), HasSubstr("unpacks to more than 1.0 MiB"));
  std::vector<std::pair<std::string, std::string>> many(50, {"word/x.xml", "x"});
  options.limits.max_archive_entries = 20;
  many.emplace_back("word/document.xml", "<d/>");
  EXPECT_THAT(refusal("a.docx", make_zip(many), options), HasSubstr("more than 20 entries"));
}

TEST(ReadEpub, ChaptersInSpineOrder) {
  const Document document = read_bytes("a.epub", make_epub({"<h1>One</h1><p>first<a id='x'/></p>",
                                                            "<h1>Two</h1><p>second &eacute;</p>"}))
                                .document;
  expect_sound(document);
  EXPECT_EQ(document.title, "A Book");
  EXPECT_EQ(document.text, "One\n\nfirst\n\nTwo\n\nsecond é\n");
  EXPECT_THAT(document.sections[1].headings, ElementsAre("Two"));
}

TEST(ReadEpub, MissingPartsAndDrm) {
  EXPECT_THAT(refusal("a.epub", make_zip({{"META-INF/container.xml", "<container/>"}})),
              HasSubstr("names no rootfile"));
  const std::string container =
      R"(<container><rootfile full-path="../../etc/passwd"/></container>)";
  EXPECT_THAT(refusal("a.epub", make_zip({{"META-INF/container.xml", container}})),
              HasSubstr("no member ../../etc/passwd"));
  const std::string drm =
      R"(<encryption><EncryptedData><CipherReference URI="OEBPS/c1.xhtml"/></EncryptedData>)"
      R"(</encryption>)";
  EXPECT_THAT(refusal("a.epub", make_zip({{"META-INF/container.xml", container},
                                          {"META-INF/encryption.xml", drm}})),
              HasSubstr("encrypted (DRM)"));
}

TEST(ReadPdf, PagesAndJoinedLines) {
  const Document document =
      read_bytes("a.pdf", make_pdf({"The committee met on Monday and talked about\n"
                                    "the size of classes in the primary schools of\nthe city.",
                                    "Second page."}))
          .document;
  expect_sound(document);
  ASSERT_EQ(document.sections.size(), 2u);
  EXPECT_EQ(document.sections[1].page, 2);
  EXPECT_EQ(document.text,
            "The committee met on Monday and talked about the size of classes in the primary "
            "schools of the city.\n\nSecond page.\n");
}

TEST(ReadPdf, TurnsOfSpeakersAreParagraphs) {
  EXPECT_EQ(read_bytes("a.pdf", make_pdf({"Lynne Neagle AM: We will go on with the questions now.\n"
                                          "Suzy Davies AM: Thank you, Chair, and good morning to"
                                          " all;\nNote: nothing more."}))
                .document.text,
            "Lynne Neagle AM: We will go on with the questions now.\n\nSuzy Davies AM: Thank you, "
            "Chair, and good morning to all; Note: nothing more.\n");
}

TEST(ReadPdf, BrokenEncryptedEmptyAndLimited) {
  EXPECT_THAT(refusal("a.pdf", "%PDF-1.7\nnothing"), StartsWith("corrupt: a.pdf: broken PDF"));
  const std::string encrypt =
      "/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O"
      "<0000000000000000000000000000000000000000000000000000000000000000>/U"
      "<0000000000000000000000000000000000000000000000000000000000000000>>>";
  EXPECT_THAT(refusal("a.pdf", make_pdf({"x"}, encrypt)), HasSubstr("the PDF is encrypted"));
  EXPECT_THAT(refusal("a.pdf", make_pdf({"", ""})), HasSubstr("its 2 pages hold no text"));
  ReadOptions options;
  options.limits.max_pages = 1;
  EXPECT_THAT(refusal("a.pdf", make_pdf({"x", "y"}), options), HasSubstr("more than 1 pages"));
  options.pdftotext = "no-such-program";
  EXPECT_THAT(refusal("a.pdf", make_pdf({"x"}), options), HasSubstr("poppler-utils"));
}

TEST(ChildProcess, OutputTimeAndCancellationAreLimited) {
  const auto run = [](std::string script, uint64_t max_output, std::stop_token stop = {}) {
    return run_child({.program = "/bin/sh",
                      .arguments = {"-c", std::move(script)},
                      .cpu_seconds = 1,
                      .wall_seconds = 1,
                      .max_output_bytes = max_output,
                      .stop = std::move(stop)});
  };
  using End = ChildResult::End;
  EXPECT_EQ(run("echo hi", 100).output, "hi\n");
  EXPECT_EQ(run("exit 3", 100).status, 3);
  EXPECT_EQ(run("while :; do echo y; done", 1000).end, End::too_much_output);
  EXPECT_EQ(run("exec sleep 60", 100).end, End::timed_out);
  EXPECT_NE(run("echo x > " + testing::TempDir() + "offbook_must_not_be", 100).status, 0);
  std::stop_source source;
  source.request_stop();
  EXPECT_THROW(run("exec sleep 60", 100, source.get_token()), Error);
}

}  // namespace
}  // namespace offbook::ingest
