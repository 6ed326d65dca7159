#include <map>

#include "src/base/error.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/html_text.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"
#include "src/ingest/xml_reader.h"
#include "src/ingest/zip_archive.h"

namespace offbook::ingest {
namespace {

using Event = XmlReader::Event;

constexpr const char* kContainer = "META-INF/container.xml";
constexpr const char* kEncryption = "META-INF/encryption.xml";

struct ManifestItem {
  std::string href;
  std::string media_type;
  bool is_navigation = false;
};

struct Package {
  std::string title;
  std::map<std::string, ManifestItem> items;  // by id
  std::vector<std::string> spine;             // ids, in reading order
};

bool is_wanted(std::string_view name) {
  const std::string lower = to_lower_ascii(name);
  for (const std::string_view ending : {".xhtml", ".html", ".htm", ".xml", ".opf"}) {
    if (lower.ends_with(ending)) {
      return true;
    }
  }
  return false;
}

std::string package_path(std::string_view container) {
  XmlReader reader(container, kContainer);
  while (reader.next()) {
    if (reader.event() == Event::start && reader.name() == "rootfile") {
      if (auto path = reader.attribute("full-path")) {
        return *path;
      }
    }
  }
  OB_THROW(Corrupt, "{} names no rootfile", kContainer);
}

Package read_package(std::string_view opf, const std::string& path) {
  Package package;
  XmlReader reader(opf, path);
  while (reader.next()) {
    if (reader.event() != Event::start) {
      continue;
    }
    if (reader.name() == "title" && package.title.empty()) {
      package.title = shorten(collapse_spaces(reader.element_text()), 300);
    } else if (reader.name() == "item") {
      const std::string properties = reader.attribute("properties").value_or("");
      package.items.emplace(reader.attribute("id").value_or(""),
                            ManifestItem{reader.attribute("href").value_or(""),
                                         reader.attribute("media-type").value_or(""),
                                         properties.find("nav") != std::string::npos});
    } else if (reader.name() == "itemref") {
      package.spine.push_back(reader.attribute("idref").value_or(""));
    }
  }
  return package;
}

int hex_digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// A manifest's href → the member's name: relative to the package file, "." and ".." resolved. Only
// ever looked up among the archive's members.
std::string member_name(const std::string& package, std::string_view href) {
  const std::string target = percent_decoded(href.substr(0, href.find('#')));
  const std::filesystem::path joined = std::filesystem::path(package).parent_path() / target;
  return joined.lexically_normal().generic_string();
}

// An encrypted font is common and harmless; an encrypted chapter is DRM.
void refuse_encrypted_chapters(const ZipArchive& zip) {
  const std::string* xml = zip.find(kEncryption);
  if (xml == nullptr) {
    return;
  }
  XmlReader reader(*xml, kEncryption);
  while (reader.next()) {
    if (reader.event() == Event::start && reader.name() == "CipherReference") {
      const std::string uri = to_lower_ascii(reader.attribute("URI").value_or(""));
      OB_REQUIRE(!is_wanted(uri), Unsupported, "chapter {} is encrypted (DRM)", uri);
    }
  }
}

void append_chapter(const std::string& bytes, ReadResult& result, const Limits& limits,
                    TextBuilder& builder) {
  const auto raw = std::as_bytes(std::span(bytes.data(), bytes.size()));
  DecodedText decoded = decode_text(raw, declared_encoding(raw));
  for (std::string& warning : decoded.warnings) {
    result.warnings.push_back(std::move(warning));
  }
  append_html(expand_self_closing(decoded.text), limits, builder);
}

}  // namespace

ReadResult read_epub(const Source& source, const ReadOptions& options) {
  const ZipArchive zip(source.bytes, options.limits, is_wanted);
  refuse_encrypted_chapters(zip);
  const std::string opf = package_path(zip.get(kContainer));
  const Package package = read_package(zip.get(opf), opf);
  OB_REQUIRE(!package.spine.empty(), Corrupt, "{} has no spine", opf);
  ReadResult result;
  result.document.title = package.title;
  TextBuilder builder(options.limits.max_text_bytes);
  for (const std::string& id : package.spine) {
    const auto item = package.items.find(id);
    OB_REQUIRE(item != package.items.end(), Corrupt, "{}: the spine names {}, which no item is",
               opf, id);
    if (item->second.is_navigation || item->second.media_type.starts_with("image/")) {
      continue;
    }
    const std::string name = member_name(opf, item->second.href);
    const std::string* chapter = zip.find(name);
    if (chapter == nullptr) {
      result.warnings.push_back(fmt::format("chapter {} is not in the archive", name));
      continue;
    }
    try {
      append_chapter(*chapter, result, options.limits, builder);
    } catch (Error& error) {
      error.add_context(fmt::format("chapter {}", name));
      throw;
    }
  }
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
