// What every fuzz target of ingest does with a file: an Error, or a document that keeps its
// promises and can be cut into passages.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <archive.h>
#include <archive_entry.h>

#include "src/base/error.h"
#include "src/ingest/passages.h"
#include "src/ingest/reader.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {

// A byte is a token; what cutting does with real counts is tested beside the code.
class ByteCounter final : public TokenCounter {
 public:
  BaseTokens tokenize_base(std::string_view text) const override {
    BaseTokens out;
    for (size_t i = 0; i < text.size(); ++i) {
      out.ids.push_back(0);
      out.spans.push_back({i, i + 1});
    }
    return out;
  }
  int base_tokens(std::string_view text) const override { return static_cast<int>(text.size()); }
  int encoder_tokens(std::string_view text) const override {
    return static_cast<int>(text.size()) + 2;
  }
};

inline void check_document(const Document& document) {
  OB_CHECK(valid_utf8_prefix(document.text) == document.text.size());
  OB_CHECK(!is_blank_text(document.text) && !document.title.empty());
  uint64_t at = 0;
  for (const Section& section : document.sections) {
    OB_CHECK(section.span.begin == at && section.span.end > at);
    at = section.span.end;
  }
  OB_CHECK(at == document.text.size());
  uint64_t covered = 0;
  for (const Passage& passage : cut_passages(document, {}, ByteCounter())) {
    if (passage.span.begin > covered) {
      OB_CHECK(is_blank_text(
          std::string_view(document.text).substr(covered, passage.span.begin - covered)));
    }
    covered = passage.span.end;
  }
}

inline void fuzz_read(const std::string& path, std::string_view bytes) {
  ReadOptions options;
  options.limits.max_file_bytes = 1 << 20;
  options.limits.max_text_bytes = 1 << 20;
  options.limits.max_archive_bytes = 4 << 20;
  options.limits.max_parser_bytes = 64 << 20;
  options.limits.max_parser_seconds = 5;
  try {
    const auto raw = std::as_bytes(std::span(bytes.data(), bytes.size()));
    check_document(read_document({.path = path, .bytes = raw}, options).document);
  } catch (const Error&) {
    // The expected end of most inputs.
  }
}

// A zip archive of these members, stored, so that mutations reach what is inside.
inline std::string stored_zip(
    const std::vector<std::pair<std::string, std::string_view>>& members) {
  size_t room = 4096;
  for (const auto& [name, content] : members) {
    room += 2 * name.size() + content.size() + 512;
  }
  std::string out(room, '\0');
  size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_zip(a);
  archive_write_zip_set_compression_store(a);
  archive_write_set_bytes_per_block(a, 0);
  archive_write_open_memory(a, out.data(), out.size(), &used);
  for (const auto& [name, content] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_write_header(a, entry);
    archive_write_data(a, content.data(), content.size());
    archive_entry_free(entry);
  }
  archive_write_free(a);
  out.resize(used);
  return out;
}

}  // namespace offbook::ingest
