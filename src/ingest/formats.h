// The readers of the single formats. Each fills in text, sections and (where the format has one)
// title, and leaves the rest of the document to read_document (reader.h). All are thread-safe and
// throw Corrupt for broken bytes, Unsupported for what is not read or is past a limit.
#pragma once
#include "src/ingest/source.h"

namespace offbook::ingest {

// Text as it stands; form feeds begin pages.
ReadResult read_text(const Source& source, const ReadOptions& options);
// GitHub-flavoured Markdown without its marks; front matter is kept as a paragraph.
ReadResult read_markdown(const Source& source, const ReadOptions& options);
ReadResult read_html(const Source& source, const ReadOptions& options);
// Through pdftotext in a limited child process; lines of a paragraph are joined; one section a
// page.
ReadResult read_pdf(const Source& source, const ReadOptions& options);
// Headings by paragraph style or outline level, lists, tables, foot- and endnotes; deleted text and
// field codes are left out.
ReadResult read_docx(const Source& source, const ReadOptions& options);
// Chapters in spine order.
ReadResult read_epub(const Source& source, const ReadOptions& options);
// RFC 4180 with ',', ';' or tab (whichever the first record has most of); the first record holds
// the names. One section "#n" a record, with one "name: value" line a field.
ReadResult read_csv(const Source& source, const ReadOptions& options);
// One JSON object a line; one section "#n title" a record. Lines that are no object or have none of
// the text fields are named in warnings and left out.
ReadResult read_jsonl(const Source& source, const ReadOptions& options);

}  // namespace offbook::ingest
