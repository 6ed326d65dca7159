#include "src/ingest/reader.h"

#include <algorithm>
#include <array>

#include "src/base/error.h"
#include "src/ingest/content_hash.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

const std::array<FormatReader, 8>& formats() {
  static const std::array<FormatReader, 8> all = {{
      {"txt", "text/plain", {".txt", ".text", ".log", ".rst", ".org", ".adoc", ".tex"}, read_text},
      {"md", "text/markdown", {".md", ".markdown", ".mdown", ".mkd"}, read_markdown},
      {"html", "text/html", {".html", ".htm", ".xhtml"}, read_html},
      {"pdf", "application/pdf", {".pdf"}, read_pdf},
      {"docx",
       "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
       {".docx", ".docm"},
       read_docx},
      {"epub", "application/epub+zip", {".epub"}, read_epub},
      {"csv", "text/csv", {".csv", ".tsv"}, read_csv},
      {"jsonl", "application/jsonl", {".jsonl", ".ndjson"}, read_jsonl},
  }};
  return all;
}

const FormatReader* format_of_id(std::string_view id) {
  for (const FormatReader& format : formats()) {
    if (format.id == id) {
      return &format;
    }
  }
  return nullptr;
}

std::string_view file_name(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// With the dot, lower case; empty for "LICENSE" and ".profile".
std::string extension_of(std::string_view path) {
  const std::string_view name = file_name(path);
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? "" : to_lower_ascii(name.substr(dot));
}

std::string_view as_view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Which zip-based format: the central directory at the end holds every member's name.
const FormatReader* format_of_zip(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, 128);
  const std::string_view tail =
      bytes.substr(bytes.size() - std::min<size_t>(bytes.size(), 1 << 20));
  if (head.find("application/epub+zip") != std::string_view::npos ||
      tail.find("META-INF/container.xml") != std::string_view::npos) {
    return format_of_id("epub");
  }
  return tail.find("word/document.xml") != std::string_view::npos ? format_of_id("docx") : nullptr;
}

struct Magic {
  std::string_view bytes;
  std::string_view name;
};
constexpr std::array<Magic, 11> kOtherKinds = {{
    {"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
     "an old Office file or an encrypted one; save it as docx without a password"},
    {"\x89PNG", "a PNG image"},
    {"\xFF\xD8\xFF", "a JPEG image"},
    {"GIF8", "a GIF image"},
    {"\x1F\x8B", "a gzip archive"},
    {"7z\xBC\xAF", "a 7z archive"},
    {"Rar!", "a RAR archive"},
    {"\x28\xB5\x2F\xFD", "a zstd archive"},
    {"\x7F"
     "ELF",
     "a program"},
    {"SQLite format 3", "an SQLite database"},
    {"{\\rtf", "an RTF file; save it as docx or txt"},
}};

// The format the content is certain about; nullptr where it is not. Throws for known other kinds.
const FormatReader* format_of_content(std::string_view bytes) {
  if (bytes.substr(0, 1024).find("%PDF-") != std::string_view::npos) {
    return format_of_id("pdf");
  }
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06")) {
    const FormatReader* format = format_of_zip(bytes);
    OB_REQUIRE(format != nullptr, Unsupported,
               "is a zip archive that holds neither a docx nor an epub");
    return format;
  }
  for (const Magic& kind : kOtherKinds) {
    OB_REQUIRE(!bytes.starts_with(kind.bytes), Unsupported, "is {}", kind.name);
  }
  return nullptr;
}

bool starts_like_html(std::string_view bytes) {
  const std::string head = to_lower_ascii(trim(bytes.substr(0, 512)));
  return head.starts_with("<!doctype html") || head.starts_with("<html");
}

bool is_textual(const FormatReader& format) {
  return format.id != "pdf" && format.id != "docx" && format.id != "epub";
}

std::string known_extensions() {
  std::string out;
  for (const FormatReader& format : formats()) {
    out += (out.empty() ? "" : ", ") + std::string(format.extensions.front());
  }
  return out;
}

ReadResult read_chosen(const Source& source, const ReadOptions& options) {
  OB_REQUIRE(source.bytes.size() <= options.limits.max_file_bytes, Unsupported,
             "is {}, more than the limit of {} for one file", format_bytes(source.bytes.size()),
             format_bytes(options.limits.max_file_bytes));
  OB_REQUIRE(!source.bytes.empty(), Unsupported, "is empty");
  FormatChoice choice = choose_format(source);
  ReadResult result = choice.format->read(source, options);
  if (!choice.warning.empty()) {
    result.warnings.insert(result.warnings.begin(), std::move(choice.warning));
  }
  result.document.media_type = choice.format->media_type;
  return result;
}

}  // namespace

std::span<const FormatReader> all_formats() {
  return formats();
}

const FormatReader* format_of_name(std::string_view path) {
  const std::string extension = extension_of(path);
  if (extension.empty()) {
    return format_of_id("txt");
  }
  for (const FormatReader& format : formats()) {
    if (std::find(format.extensions.begin(), format.extensions.end(), extension) !=
        format.extensions.end()) {
      return &format;
    }
  }
  return nullptr;
}

FormatChoice choose_format(const Source& source) {
  const std::string_view bytes = as_view(source.bytes);
  const FormatReader* by_name = format_of_name(source.path);
  const FormatReader* by_content = format_of_content(bytes);
  const std::string extension = extension_of(source.path);
  if (by_content == nullptr && extension.empty() && starts_like_html(bytes)) {
    by_content = format_of_id("html");
  }
  if (by_content != nullptr && by_content != by_name) {
    return {by_content, extension.empty()
                            ? std::string()
                            : fmt::format("is named {} but holds {}; read as {}", extension,
                                          by_content->media_type, by_content->id)};
  }
  OB_REQUIRE(by_name != nullptr, Unsupported, "no reader for {} files (there are {})", extension,
             known_extensions());
  OB_REQUIRE(by_content != nullptr || is_textual(*by_name), Corrupt,
             "is named {} but does not begin like one", extension);
  return {by_name, {}};
}

ReadResult read_document(const Source& source, const ReadOptions& options) {
  try {
    ReadResult result = read_chosen(source, options);
    Document& document = result.document;
    document.id = hash_text(source.path);
    document.path = source.path;
    document.content_hash = hash_bytes(source.bytes);
    document.source_bytes = source.bytes.size();
    document.modified_ns = source.modified_ns;
    if (is_blank_text(document.title)) {
      document.title = file_name(source.path);
    }
    return result;
  } catch (Error& error) {
    error.add_context(source.path);
    throw;
  }
}

}  // namespace offbook::ingest
