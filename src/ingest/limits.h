// How much one source file may cost. Every limit refuses with the limit's name, what was allowed
// and what came; nothing is cut off silently.
#pragma once
#include <cstdint>
#include <string>

namespace offbook::ingest {

struct Limits {
  uint64_t max_file_bytes = uint64_t{512} << 20;     // of one source file
  uint64_t max_text_bytes = uint64_t{128} << 20;     // of one document's text, and of its headings
  uint64_t max_parser_bytes = uint64_t{512} << 20;   // a parser's tree of one HTML or Markdown file
  int max_parser_seconds = 30;                       // of one HTML or Markdown parse
  int max_nesting = 512;                             // elements or blocks inside each other
  uint64_t max_archive_bytes = uint64_t{256} << 20;  // unpacked, of one docx or epub
  uint64_t max_archive_ratio = 200;                  // unpacked / packed, looked at above 16 MiB
  int max_archive_entries = 20'000;
  int max_pages = 20'000;
  int max_pdf_seconds = 120;  // CPU time of pdftotext; twice that by the clock
  uint64_t max_pdf_memory_bytes = uint64_t{2} << 30;
};

// "1.5 GiB", "300 bytes": for messages.
std::string format_bytes(uint64_t bytes);

}  // namespace offbook::ingest
