// Small questions about UTF-8 text that ingest asks everywhere.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace offbook::ingest {

// The character at text[at] and its length in bytes; code_point is -1 and length 1 where the bytes
// there are not UTF-8. `at` must be inside the text.
struct Character {
  int32_t code_point = -1;
  size_t length = 1;
};
Character character_at(std::string_view text, size_t at) noexcept;

// Length of the longest valid UTF-8 prefix; ASCII eight bytes at a time.
size_t valid_utf8_prefix(std::string_view text) noexcept;

// Appends a code point; U+FFFD for one that UTF-8 does not have (surrogates, above 0x10FFFF).
void append_utf8(std::string& out, uint32_t code_point);

inline bool is_ascii_space(char c) noexcept {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

// Does the character show nothing: white space of any script, zero-width marks, soft hyphen?
bool is_blank(int32_t code_point) noexcept;

// Is every character blank (or is there none)?
bool is_blank_text(std::string_view text) noexcept;

// Without ASCII white space at both ends.
std::string_view trim(std::string_view text) noexcept;

// Runs of white space (ASCII and no-break spaces) become one space; none at the ends.
std::string collapse_spaces(std::string_view text);

// At most max_bytes bytes, never inside a character, "…" behind where something was left away.
std::string shorten(std::string_view text, size_t max_bytes);

// ASCII letters only; other bytes stay.
std::string to_lower_ascii(std::string_view text);

}  // namespace offbook::ingest
