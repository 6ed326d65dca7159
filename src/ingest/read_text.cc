#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/html_text.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {

ReadResult read_text(const Source& source, const ReadOptions& options) {
  DecodedText decoded = decode_text(source.bytes);
  ReadResult result{.warnings = std::move(decoded.warnings)};
  TextBuilder builder(options.limits.max_text_bytes);
  std::string_view rest = decoded.text;
  const bool has_pages = trim(rest).find('\f') != std::string_view::npos;
  for (int page = 1; !rest.empty(); ++page) {
    const size_t end = std::min(rest.find('\f'), rest.size());
    if (has_pages) {
      builder.page(page);
    }
    builder.paragraph(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  builder.finish(result.document);
  return result;
}

ReadResult read_html(const Source& source, const ReadOptions& options) {
  DecodedText decoded = decode_text(source.bytes, declared_encoding(source.bytes));
  ReadResult result{.warnings = std::move(decoded.warnings)};
  TextBuilder builder(options.limits.max_text_bytes);
  const bool is_xhtml = std::string_view(decoded.text).substr(0, 1024).starts_with("<?xml");
  const std::string html = is_xhtml ? expand_self_closing(decoded.text) : std::move(decoded.text);
  result.document.title = append_html(html, options.limits, builder);
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
