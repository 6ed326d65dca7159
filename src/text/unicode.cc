#include "src/text/unicode.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <utf8proc.h>

#include "src/base/error.h"

namespace offbook::text {
namespace {

// Bounds of the second byte, which alone carry the rules against overlong forms, surrogates and
// values above U+10FFFF.
struct SecondByte {
  uint8_t low;
  uint8_t high;
};

SecondByte second_byte_of(uint8_t lead) noexcept {
  switch (lead) {
    case 0xE0:
      return {0xA0, 0xBF};
    case 0xED:
      return {0x80, 0x9F};
    case 0xF0:
      return {0x90, 0xBF};
    case 0xF4:
      return {0x80, 0x8F};
    default:
      return {0x80, 0xBF};
  }
}

uint32_t length_of(uint8_t lead) noexcept {
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return 2;
  }
  if ((lead & 0xF0) == 0xE0) {
    return 3;
  }
  return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;  // 0: never starts a character
}

// How many bytes at `at` agree with the character its lead byte announces (≥ 1).
uint32_t agreeing_bytes(std::string_view text, size_t at, uint32_t wanted) noexcept {
  const auto lead = static_cast<uint8_t>(text[at]);
  uint32_t have = 1;
  while (have < wanted && at + have < text.size()) {
    const auto byte = static_cast<uint8_t>(text[at + have]);
    const SecondByte bound = have == 1 ? second_byte_of(lead) : SecondByte{0x80, 0xBF};
    if (byte < bound.low || byte > bound.high) {
      break;
    }
    ++have;
  }
  return have;
}

utf8proc_option_t options_of(NormalForm form) {
  switch (form) {
    case NormalForm::nfc:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    case NormalForm::nfd:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    case NormalForm::nfkc:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    default:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  }
}

// utf8proc orders marks by swapping neighbours, which takes quadratic time on long runs of them
// (500,000 marks would take hours). Above this size we decompose and order the text first.
constexpr size_t kLongText = 256;

std::string with_ordered_marks(std::string_view text, utf8proc_option_t options) {
  const int decompose =
      options & UTF8PROC_COMPAT ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE;
  std::vector<std::pair<int, char32_t>> characters;  // with combining class
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    at += c.length;
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts.data(), parts.size(),
                                static_cast<utf8proc_option_t>(decompose), &boundary);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const utf8proc_int32_t part = parts[static_cast<size_t>(i)];
      characters.emplace_back(utf8proc_get_property(part)->combining_class, part);
    }
  }
  const auto is_starter = [](const auto& c) { return c.first == 0; };
  for (auto run = characters.begin(); run != characters.end();) {
    run = std::find_if_not(run, characters.end(), is_starter);
    const auto end = std::find_if(run, characters.end(), is_starter);
    std::stable_sort(run, end, [](const auto& a, const auto& b) { return a.first < b.first; });
    run = end;
  }
  std::string out;
  for (const auto& [combining_class, code] : characters) {
    append_utf8(out, code);
  }
  return out;
}

}  // namespace

Utf8Char decode_utf8(std::string_view text, size_t at) noexcept {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) {
    return {lead, 1, true};
  }
  const uint32_t wanted = length_of(lead);
  if (wanted == 0) {
    return {};
  }
  const uint32_t have = agreeing_bytes(text, at, wanted);
  if (have < wanted) {
    return {kReplacement, have, false};
  }
  char32_t code = lead & (0x7Fu >> wanted);
  for (uint32_t i = 1; i < wanted; ++i) {
    code = (code << 6) | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  }
  return {code, wanted, true};
}

void append_utf8(std::string& out, char32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    code = kReplacement;
  }
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
    return;
  }
  const int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  const uint32_t mark = tail == 1 ? 0xC0 : tail == 2 ? 0xE0 : 0xF0;
  out.push_back(static_cast<char>(mark | (code >> (6 * tail))));
  for (int i = tail - 1; i >= 0; --i) {
    out.push_back(static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F)));
  }
}

size_t find_invalid_utf8(std::string_view text) noexcept {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word;
    while (at + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if (word & 0x8080808080808080ull) {
        break;
      }
      at += sizeof(word);
    }
    if (at == text.size()) {
      break;
    }
    const Utf8Char c = decode_utf8(text, at);
    if (!c.is_valid) {
      return at;
    }
    at += c.length;
  }
  return std::string_view::npos;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  while (true) {
    const size_t bad = find_invalid_utf8(text);
    out.append(text.substr(0, bad));
    if (bad == std::string_view::npos) {
      return out;
    }
    append_utf8(out, kReplacement);
    text.remove_prefix(bad + decode_utf8(text, bad).length);
  }
}

size_t complete_utf8_prefix(std::string_view text) noexcept {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t at = text.size() - back;
    const auto byte = static_cast<uint8_t>(text[at]);
    if ((byte & 0xC0) == 0x80) {
      continue;
    }
    const uint32_t wanted = length_of(byte);
    const bool is_open = wanted > back && agreeing_bytes(text, at, wanted) == back;
    return is_open ? at : text.size();
  }
  return text.size();
}

bool is_white_space(char32_t code) noexcept {
  return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

std::string_view general_category(char32_t code) noexcept {
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
}

std::string normalize(std::string_view text, NormalForm form) {
  std::string valid = to_valid_utf8(text);
  if (valid.size() > kLongText) {
    valid = with_ordered_marks(valid, options_of(form));
  }
  utf8proc_uint8_t* raw = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &raw, options_of(form));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  OB_REQUIRE(size >= 0, OutOfMemory, "normalise {} bytes of text: {}", valid.size(),
             utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(raw), static_cast<size_t>(size)};
}

}  // namespace offbook::text
