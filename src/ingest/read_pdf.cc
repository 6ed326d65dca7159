#include <string>

#include "src/base/error.h"
#include "src/ingest/child_process.h"
#include "src/ingest/encoding.h"
#include "src/ingest/formats.h"
#include "src/ingest/text_builder.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

size_t characters_in(std::string_view line) {
  size_t count = 0;
  for (const char c : line) {
    count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  }
  return count;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(trim(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// "Lynne Neagle AM: Good morning": a turn in minutes. pdftotext leaves no blank line in front.
bool starts_turn(std::string_view line, std::string_view before) {
  constexpr std::string_view kEnds = ".?!'\"]";
  const size_t colon = line.find(": ");
  return colon != std::string_view::npos && colon >= 2 && colon <= 40 && line[0] >= 'A' &&
         line[0] <= 'Z' && line.substr(0, colon).find_first_of(".,;?!") == std::string_view::npos &&
         !before.empty() && kEnds.find(before.back()) != std::string_view::npos;
}

// Lines as the page was set → paragraphs: a line that fills most of the column goes on in the next
// one. Short lines (lists, tables, addresses) stay lines of their own.
void append_page(std::string_view page, TextBuilder& builder) {
  const std::vector<std::string_view> lines = split_lines(page);
  size_t widest = 0;
  for (const std::string_view line : lines) {
    widest = std::max(widest, characters_in(line));
  }
  std::string paragraph;
  bool line_was_full = false;
  for (const std::string_view line : lines) {
    if (line.empty() || starts_turn(line, paragraph)) {
      builder.paragraph(paragraph);
      paragraph.clear();
    }
    if (line.empty()) {
      continue;
    }
    if (!paragraph.empty()) {
      paragraph += line_was_full ? ' ' : '\n';
    }
    paragraph += line;
    line_was_full = characters_in(line) * 10 >= widest * 7;
  }
  builder.paragraph(paragraph);
}

// What went wrong, from pdftotext's exit status and first words.
[[noreturn]] void refuse(const ChildResult& result, const Limits& limits) {
  using End = ChildResult::End;
  if (result.end == End::timed_out) {
    OB_THROW(Unsupported, "pdftotext took longer than the limit of {} s", limits.max_pdf_seconds);
  }
  if (result.end == End::too_much_output) {
    OB_THROW(Unsupported, "its text is longer than the limit of {} for one document",
             format_bytes(limits.max_text_bytes));
  }
  if (result.errors.find("ncorrect password") != std::string::npos) {
    OB_THROW(Unsupported, "the PDF is encrypted; save it without a password");
  }
  const std::string_view errors = result.errors;
  const std::string first(trim(errors.substr(0, errors.find('\n'))));
  if (result.end == End::signalled) {
    OB_THROW(Corrupt, "pdftotext ended by signal {} (its memory limit is {}): {}", result.status,
             format_bytes(limits.max_pdf_memory_bytes), first);
  }
  OB_THROW(Corrupt,
           "broken PDF, to be saved or downloaded anew: pdftotext ended with status {}: {}",
           result.status, first);
}

ChildResult run_pdftotext(const Source& source, const ReadOptions& options) {
  const std::filesystem::path program = find_program(options.pdftotext);
  OB_REQUIRE(!program.empty(), Unsupported,
             "reading PDF needs the program {}, which is not installed (Debian: apt-get install "
             "poppler-utils)",
             options.pdftotext.string());
  const Limits& limits = options.limits;
  return run_child({.program = program,
                    .arguments = {"-enc", "UTF-8", "-eol", "unix", "-l",
                                  std::to_string(limits.max_pages + 1), "{input}", "-"},
                    .input = source.bytes,
                    .cpu_seconds = limits.max_pdf_seconds,
                    .wall_seconds = 2 * limits.max_pdf_seconds,
                    .memory_bytes = limits.max_pdf_memory_bytes,
                    .max_output_bytes = limits.max_text_bytes,
                    .stop = options.stop});
}

}  // namespace

ReadResult read_pdf(const Source& source, const ReadOptions& options) {
  const ChildResult child = run_pdftotext(source, options);
  if (child.end != ChildResult::End::exited || child.status != 0) {
    refuse(child, options.limits);
  }
  ReadResult result;
  TextBuilder builder(options.limits.max_text_bytes);
  std::string_view rest = child.output;
  int pages = 0;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\f'), rest.size());
    OB_REQUIRE(++pages <= options.limits.max_pages, Unsupported,
               "has more than {} pages, the limit", options.limits.max_pages);
    builder.page(pages);
    append_page(rest.substr(0, end), builder);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  OB_REQUIRE(!builder.empty(), Unsupported,
             "its {} pages hold no text, only images perhaps; run text recognition (OCR) first",
             pages);
  builder.finish(result.document);
  return result;
}

}  // namespace offbook::ingest
