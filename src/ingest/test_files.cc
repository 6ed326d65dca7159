#include "src/ingest/test_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {

std::string refusal(const std::string& path, std::string_view bytes, const ReadOptions& options) {
  try {
    read_bytes(path, bytes, options);
    return {};
  } catch (const Error& error) {
    return fmt::format("{}: {}", to_string(error.code()), error.what());
  }
}

std::string make_zip(const std::vector<std::pair<std::string, std::string>>& members) {
  size_t room = 4096;
  for (const auto& [name, content] : members) {
    room += 2 * name.size() + content.size() + content.size() / 1000 + 512;
  }
  std::string out(room, '\0');
  size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_zip(a);
  archive_write_set_bytes_per_block(a, 0);
  archive_write_open_memory(a, out.data(), out.size(), &used);
  for (const auto& [name, content] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_write_header(a, entry);
    archive_write_data(a, content.data(), content.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  out.resize(used);
  return out;
}

std::string make_docx(std::string_view body) {
  constexpr std::string_view kNamespace =
      R"(xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main")";
  const std::string styles = fmt::format(
      R"(<w:styles {}><w:style w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>)"
      R"(<w:style w:styleId="Sub"><w:name w:val="Mine"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr>)"
      R"(</w:style></w:styles>)",
      kNamespace);
  return make_zip({{"[Content_Types].xml", "<Types/>"},
                   {"word/document.xml",
                    fmt::format(R"(<?xml version="1.0"?><w:document {}><w:body>{}</w:body>)"
                                R"(</w:document>)",
                                kNamespace, body)},
                   {"word/styles.xml", styles}});
}

std::string make_epub(const std::vector<std::string>& bodies) {
  std::vector<std::pair<std::string, std::string>> members = {
      {"mimetype", "application/epub+zip"},
      {"META-INF/container.xml",
       R"(<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>)"}};
  std::string manifest, spine;
  for (size_t i = 0; i < bodies.size(); ++i) {
    // In the archive in another order than in the spine.
    members.insert(members.begin() + 2,
                   {fmt::format("OEBPS/text/c {}.xhtml", i),
                    fmt::format(R"(<?xml version="1.0" encoding="utf-8"?><html><head><title/>)"
                                R"(</head><body>{}</body></html>)",
                                bodies[i])});
    manifest += fmt::format(
        R"(<item id="c{}" href="text/c%20{}.xhtml" media-type="application/xhtml+xml"/>)", i, i);
    spine += fmt::format(R"(<itemref idref="c{}"/>)", i);
  }
  members.emplace_back("OEBPS/book.opf",
                       fmt::format(R"(<package xmlns:dc="http://purl.org/dc/elements/1.1/">)"
                                   R"(<metadata><dc:title>A Book</dc:title></metadata>)"
                                   R"(<manifest>{}</manifest><spine>{}</spine></package>)",
                                   manifest, spine));
  return make_zip(members);
}

std::string make_pdf(const std::vector<std::string>& pages, std::string_view extra_trailer) {
  std::vector<std::string> objects = {
      "<</Type/Catalog/Pages 2 0 R>>", "",
      "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"};
  std::string kids;
  for (const std::string& page : pages) {
    std::string content = "BT /F1 11 Tf 14 TL 50 780 Td (";
    for (const char c : page) {
      content += c == '\n' ? ") Tj T* (" : std::string(1, c);
    }
    content += ") Tj ET";
    kids += fmt::format("{} 0 R ", objects.size() + 1);
    objects.push_back(
        fmt::format("<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {} 0 R"
                    "/Resources<</Font<</F1 3 0 R>>>>>>",
                    objects.size() + 2));
    objects.push_back(
        fmt::format("<</Length {}>>\nstream\n{}\nendstream", content.size(), content));
  }
  objects[1] = fmt::format("<</Type/Pages/Count {}/Kids[{}]>>", pages.size(), kids);
  std::string out = "%PDF-1.4\n", table;
  for (size_t i = 0; i < objects.size(); ++i) {
    table += fmt::format("{:010} 00000 n \n", out.size());
    out += fmt::format("{} 0 obj\n{}\nendobj\n", i + 1, objects[i]);
  }
  return out + fmt::format(
                   "xref\n0 {}\n0000000000 65535 f \n{}trailer\n<</Size {}/Root 1 0 R{}>>\n"
                   "startxref\n{}\n%%EOF\n",
                   objects.size() + 1, table, objects.size() + 1, extra_trailer, out.size());
}

void expect_sound(const Document& document) {
  EXPECT_EQ(valid_utf8_prefix(document.text), document.text.size());
  EXPECT_EQ(document.text.find('\r'), std::string::npos);
  EXPECT_EQ(document.text.find('\0'), std::string::npos);
  ASSERT_FALSE(document.sections.empty());
  uint64_t at = 0;
  for (const Section& section : document.sections) {
    EXPECT_EQ(section.span.begin, at);
    EXPECT_LT(section.span.begin, section.span.end);
    at = section.span.end;
  }
  EXPECT_EQ(at, document.text.size());
  EXPECT_EQ(document.id.size(), 32u);
  EXPECT_EQ(document.content_hash.size(), 32u);
  EXPECT_FALSE(document.title.empty());
}

}  // namespace offbook::ingest
