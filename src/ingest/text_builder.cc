#include "src/ingest/text_builder.h"

#include "src/base/error.h"
#include "src/ingest/limits.h"
#include "src/ingest/utf8.h"

namespace offbook::ingest {
namespace {

// A heading of megabytes would be copied into every section under it.
constexpr size_t kMaxHeadingBytes = 200;

// Without blank lines in front and white space behind.
std::string_view trim_block(std::string_view text) {
  const std::string_view trimmed = trim(text);
  if (trimmed.empty()) {
    return trimmed;
  }
  const size_t first = static_cast<size_t>(trimmed.data() - text.data());
  const size_t line = text.substr(0, first).rfind('\n');
  const size_t begin = line == std::string_view::npos ? 0 : line + 1;
  return text.substr(begin, first + trimmed.size() - begin);
}

std::string repaired(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    append_utf8(out, c.code_point < 0 ? 0xFFFD : static_cast<uint32_t>(c.code_point));
    at += c.length;
  }
  return out;
}

}  // namespace

void TextBuilder::heading(int level, std::string_view text) {
  const std::string flat = collapse_spaces(text);
  if (is_blank_text(flat)) {
    return;
  }
  while (!path_.empty() && path_.back().first >= level) {
    path_.pop_back();
  }
  path_.emplace_back(level, shorten(flat, kMaxHeadingBytes));
  Section section;
  for (const auto& [_, name] : path_) {
    section.headings.push_back(name);
  }
  start_section(std::move(section));
  append(flat, Block::heading);
}

void TextBuilder::page(int number) {
  Section section;
  section.page = number;
  start_section(std::move(section));
}

void TextBuilder::record(std::string_view heading) {
  Section section;
  section.headings.push_back(shorten(collapse_spaces(heading), kMaxHeadingBytes));
  start_section(std::move(section));
}

void TextBuilder::start_section(Section section) {
  heading_bytes_ += sizeof(Section);
  for (const std::string& name : section.headings) {
    heading_bytes_ += sizeof(std::string) + name.size();
  }
  OB_REQUIRE(heading_bytes_ <= 2 * max_text_bytes_ + 4096, Unsupported,
             "headings of {} sections take more than {}, twice the limit of a document's text",
             sections_.size(), format_bytes(2 * max_text_bytes_));
  next_ = std::move(section);
}

void TextBuilder::append(std::string_view text, Block block) {
  text = trim_block(text);
  if (is_blank_text(text)) {
    return;
  }
  if (valid_utf8_prefix(text) != text.size()) {
    const std::string fixed = repaired(text);
    append(fixed, block);
    return;
  }
  if (!text_.empty()) {
    text_ += block == Block::line && last_ == Block::line && !next_ ? "\n" : "\n\n";
  }
  OB_REQUIRE(text_.size() + text.size() <= max_text_bytes_, Unsupported,
             "its text is longer than the limit of {} for one document",
             format_bytes(max_text_bytes_));
  if (next_ || sections_.empty()) {
    Section section = next_ ? *std::move(next_) : Section{};
    next_.reset();
    section.span.begin = text_.size();
    sections_.push_back(std::move(section));
  }
  text_ += text;
  last_ = block;
}

void TextBuilder::finish(Document& document) {
  OB_REQUIRE(!text_.empty(), Unsupported, "holds no text");
  text_ += '\n';
  for (size_t i = 0; i < sections_.size(); ++i) {
    sections_[i].span.begin = i == 0 ? 0 : sections_[i].span.begin;
    sections_[i].span.end = i + 1 < sections_.size() ? sections_[i + 1].span.begin : text_.size();
  }
  document.text = std::move(text_);
  document.sections = std::move(sections_);
}

}  // namespace offbook::ingest
