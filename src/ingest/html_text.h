// HTML → headings, paragraphs, list items, table rows.
#pragma once
#include <string>
#include <string_view>

#include "src/ingest/limits.h"
#include "src/ingest/text_builder.h"

namespace offbook::ingest {

// Appends a page's text: headings h1–h6 make sections, li/tr/dt/dd are lines, pre keeps its line
// ends, everything else collapses as a browser does. Scripts, styles, navigation and hidden parts
// are left out, links keep their words. Returns the page's <title>, else its first h1, else "".
// `html` is UTF-8. Unsupported past the limits of nesting, parser memory or time.
// 18 MB/s of one core, nearly all of it gumbo's; memory about 10 bytes a byte.
std::string append_html(std::string_view html, const Limits& limits, TextBuilder& builder);

// "<title/>" → "<title></title>" for every element but HTML's own void ones: XHTML that an HTML
// parser would read as an element without end.
std::string expand_self_closing(std::string_view xhtml);

// Deepest nesting of elements that have to be closed, by a scan of the tags alone, stopping early
// once it is above `stop_above`. Cheap enough to run before the parser.
int estimate_nesting(std::string_view html, int stop_above);

}  // namespace offbook::ingest
