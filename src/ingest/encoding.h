// Bytes of unknown encoding → UTF-8 with '\n' line ends.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::ingest {

struct DecodedText {
  std::string text;                   // valid UTF-8, "\n" line ends, no NUL, no byte order mark
  std::string encoding;               // "UTF-8", "UTF-16LE", "Windows-1252", …
  std::vector<std::string> warnings;  // one sentence each, for every guess or replacement made
};

// Decides by rule, in this order: byte order mark; UTF-16 without one (a NUL in nearly every second
// byte); valid UTF-8; the encoding the file declares (`declared`, e.g. of an HTML page), if it is a
// known one; mostly UTF-8 with stray bytes (those are read as Windows-1252); else Windows-1252, or
// ISO-8859-1 where no byte is in 0x80…0x9F. Everything but a mark, UTF-8 and a declaration is named
// in a warning. Not UTF-8 by declaration only: valid UTF-8 wins over it.
// Unsupported for bytes that are no text: NUL bytes or more than 1 control character in 50.
// Thread-safe; memory: the text.
DecodedText decode_text(std::span<const std::byte> bytes, std::string_view declared = {});

// The encoding an HTML or XML file declares in its first 1,024 bytes; empty where it does not.
std::string declared_encoding(std::span<const std::byte> bytes);

// Do the first 4 KiB look like text in some encoding that decode_text reads?
bool looks_like_text(std::span<const std::byte> bytes) noexcept;

}  // namespace offbook::ingest
