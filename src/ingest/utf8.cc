#include "src/ingest/utf8.h"

#include <cstring>

#include <utf8proc.h>

namespace offbook::ingest {

Character character_at(std::string_view text, size_t at) noexcept {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) {
    return {first, 1};
  }
  utf8proc_int32_t code_point = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at);
  const auto left = static_cast<utf8proc_ssize_t>(text.size() - at);
  const utf8proc_ssize_t length = utf8proc_iterate(bytes, left, &code_point);
  if (length <= 0) {
    return {-1, 1};
  }
  return {code_point, static_cast<size_t>(length)};
}

size_t valid_utf8_prefix(std::string_view text) noexcept {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word;
    if (at + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Character c = character_at(text, at);
    if (c.code_point < 0) {
      return at;
    }
    at += c.length;
  }
  return at;
}

void append_utf8(std::string& out, uint32_t code_point) {
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
    code_point = 0xFFFD;
  }
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

bool is_blank(int32_t code_point) noexcept {
  if (code_point < 0x80) {
    return code_point >= 0 && is_ascii_space(static_cast<char>(code_point));
  }
  switch (code_point) {
    case 0x85:    // next line
    case 0xA0:    // no-break space
    case 0xAD:    // soft hyphen
    case 0x1680:  // ogham space mark
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x2060:  // word joiner
    case 0x3000:  // ideographic space
    case 0xFEFF:  // byte order mark
      return true;
    default:
      return code_point >= 0x2000 && code_point <= 0x200F;  // spaces, zero-width, direction marks
  }
}

bool is_blank_text(std::string_view text) noexcept {
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (!is_blank(c.code_point)) {
      return false;
    }
    at += c.length;
  }
  return true;
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_ascii_space(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_ascii_space(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

std::string collapse_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool pending = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool no_break = text[i] == '\xC2' && i + 1 < text.size() && text[i + 1] == '\xA0';
    if (no_break || is_ascii_space(text[i])) {
      i += no_break ? 1 : 0;
      pending = !out.empty();
      continue;
    }
    if (pending) {
      out.push_back(' ');
      pending = false;
    }
    out.push_back(text[i]);
  }
  return out;
}

std::string shorten(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) {
    return std::string(text);
  }
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string to_lower_ascii(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return out;
}

}  // namespace offbook::ingest
