#include "src/metrics/python_text.h"

#include <algorithm>
#include <iterator>

#include <utf8proc.h>

#include "src/text/unicode.h"

namespace offbook::metrics {
namespace {

using text::append_utf8;
using text::decode_utf8;
using text::general_category;
using text::Utf8Char;

struct SpecialUpper {
  char32_t from;
  char32_t to[3];
};

constexpr SpecialUpper kSpecialUpper[] = {
#include "src/metrics/special_upper.inc"
};

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

// Unicode's Cased and Case_Ignorable, which decide whether a sigma ends its word.
bool is_cased(char32_t code) {
  const std::string_view category = general_category(code);
  return category == "Lu" || category == "Ll" || category == "Lt" || code == 0xAA || code == 0xBA ||
         (code >= 0x2160 && code <= 0x217F) || (code >= 0x24B6 && code <= 0x24E9) ||
         (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
         (code >= 0x1F170 && code <= 0x1F189);
}

bool is_case_ignorable(char32_t code) {
  constexpr std::u32string_view kMidWord =
      U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  const std::string_view category = general_category(code);
  return category == "Mn" || category == "Me" || category == "Cf" || category == "Lm" ||
         category == "Sk" || kMidWord.find(code) != std::u32string_view::npos;
}

bool is_final_sigma(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) {
    --before;
  }
  if (before == 0 || !is_cased(text[before - 1])) {
    return false;
  }
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) {
    ++after;
  }
  return after == text.size() || !is_cased(text[after]);
}

}  // namespace

std::u32string code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    out.push_back(c.code);
    at += c.length;
  }
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t code : text) {
    append_utf8(out, code);
  }
  return out;
}

std::string python_lower(std::string_view text) {
  if (is_ascii(text)) {
    std::string out(text);
    for (char& c : out) {
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    return out;
  }
  const std::u32string codes = code_points(text);
  std::string out;
  out.reserve(text.size() + 8);
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] == 0x130) {  // İ
      out += "i\xCC\x87";
    } else if (codes[i] == 0x3A3 && is_final_sigma(codes, i)) {
      append_utf8(out, 0x3C2);
    } else {
      append_utf8(out,
                  static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(codes[i]))));
    }
  }
  return out;
}

std::string python_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  for (const char32_t code : code_points(text)) {
    const auto* special = std::lower_bound(
        std::begin(kSpecialUpper), std::end(kSpecialUpper), code,
        [](const SpecialUpper& row, char32_t wanted) { return row.from < wanted; });
    if (special != std::end(kSpecialUpper) && special->from == code) {
      for (const char32_t to : special->to) {
        if (to != 0) {
          append_utf8(out, to);
        }
      }
    } else {
      append_utf8(out,
                  static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
    }
  }
  return out;
}

bool is_python_space(char32_t code) noexcept {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_python_word(char32_t code) noexcept {
  if (code < 0x80) {
    return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
           (code >= 'A' && code <= 'Z') || code == '_';
  }
  const std::string_view category = general_category(code);
  return category[0] == 'L' || category[0] == 'N';
}

int python_digit(char32_t code) noexcept {
  if (code < 0x80) {
    return code >= '0' && code <= '9' ? static_cast<int>(code - '0') : -1;
  }
  if (general_category(code) != "Nd") {
    return -1;
  }
  // Digits stand in runs of whole tens, 0 first; some runs touch (mathematical digits).
  char32_t first = code;
  while (general_category(first - 1) == "Nd") {
    --first;
  }
  return static_cast<int>((code - first) % 10);
}

std::vector<std::string_view> python_split(std::string_view text) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t at = 0; at <= text.size();) {
    const Utf8Char c = at < text.size() ? decode_utf8(text, at) : Utf8Char{' ', 1, true};
    if (is_python_space(c.code)) {
      if (at > begin) {
        out.push_back(text.substr(begin, at - begin));
      }
      begin = at + c.length;
    }
    at += c.length;
  }
  return out;
}

std::string_view python_rstrip(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    at += c.length;
    if (!is_python_space(c.code)) {
      end = at;
    }
  }
  return text.substr(0, end);
}

std::string_view python_strip(std::string_view text) {
  text = python_rstrip(text);
  size_t begin = 0;
  while (begin < text.size()) {
    const Utf8Char c = decode_utf8(text, begin);
    if (!is_python_space(c.code)) {
      break;
    }
    begin += c.length;
  }
  return text.substr(begin);
}

std::string spaces_for(std::string_view characters, std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [&](char c) { return characters.find(c) != std::string_view::npos; },
      ' ');
  return out;
}

bool is_ascii_punctuation(char c) noexcept {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

}  // namespace offbook::metrics
