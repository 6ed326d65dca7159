// Small files made in memory for the tests of ingest.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/ingest/reader.h"

namespace offbook::ingest {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline ReadResult read_bytes(const std::string& path, std::string_view bytes,
                             const ReadOptions& options = {}) {
  return read_document({.path = path, .bytes = bytes_of(bytes)}, options);
}

// "code: message" of what reading throws; "" when it does not.
std::string refusal(const std::string& path, std::string_view bytes,
                    const ReadOptions& options = {});

// A zip archive with these members, deflated.
std::string make_zip(const std::vector<std::pair<std::string, std::string>>& members);

// A docx with this inside w:body, and headings styled "Heading1", "Heading2".
std::string make_docx(std::string_view body);

// An epub with these chapters (XHTML bodies), in this order.
std::string make_epub(const std::vector<std::string>& bodies);

// A PDF of one page for each text; each '\n' begins a line.
std::string make_pdf(const std::vector<std::string>& pages, std::string_view extra_trailer = {});

// Text of section i.
inline std::string_view section_text(const Document& document, size_t i) {
  const ByteSpan span = document.sections.at(i).span;
  return std::string_view(document.text).substr(span.begin, span.end - span.begin);
}

// Fails the running test unless text and sections keep what records promise.
void expect_sound(const Document& document);

}  // namespace offbook::ingest
