// Where every reader puts what it finds: text with blank lines between blocks, and its sections.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::ingest {

// Builds Document::text and Document::sections. Text given in must be UTF-8 (what is not becomes
// U+FFFD) and is trimmed at its ends (the first line keeps its indentation); blank text is ignored.
// Every call throws Unsupported when the text, or the headings kept for it, would pass
// max_text_bytes. Not thread-safe.
class TextBuilder {
 public:
  explicit TextBuilder(uint64_t max_text_bytes) : max_text_bytes_(max_text_bytes) {}

  // Starts a section under the headings of lower level before it. The heading stands in the text
  // too; its copy in the path is cut at 200 bytes. Level from 1.
  void heading(int level, std::string_view text);
  // Starts the section of page `number` (from 1).
  void page(int number);
  // Starts a section named by exactly this heading, which does not stand in the text.
  void record(std::string_view heading);
  // A block with a blank line in front; may have lines of its own.
  void paragraph(std::string_view text) { append(text, Block::paragraph); }
  // A list item or table row: directly under the line before it.
  void line(std::string_view text) { append(text, Block::line); }
  // The next line begins a block of its own: the list or table has ended.
  void end_lines() { last_ = Block::none; }

  bool empty() const noexcept { return text_.empty(); }
  uint64_t size_bytes() const noexcept { return text_.size(); }

  // Moves text and sections into `document`. Unsupported where there is no text at all.
  void finish(Document& document);

 private:
  enum class Block { none, heading, paragraph, line };
  void append(std::string_view text, Block block);
  void start_section(Section section);

  uint64_t max_text_bytes_;
  uint64_t heading_bytes_ = 0;
  std::string text_;
  std::vector<Section> sections_;
  std::optional<Section> next_;  // begins where the next text is put
  std::vector<std::pair<int, std::string>> path_;
  Block last_ = Block::none;
};

}  // namespace offbook::ingest
