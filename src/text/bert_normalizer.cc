#include "src/text/bert_normalizer.h"

#include <algorithm>
#include <array>
#include <span>

#include <utf8proc.h>

namespace offbook::text {
namespace {

struct Range {
  char32_t first, last;
};

bool is_in(std::span<const Range> ranges, char32_t code) noexcept {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](char32_t c, const Range& r) { return c < r.first; });
  return after != ranges.begin() && code <= (after - 1)->last;
}

constexpr std::array<Range, 8> kIdeographs{{{0x3400, 0x4DBF},
                                            {0x4E00, 0x9FFF},
                                            {0xF900, 0xFAFF},
                                            {0x20000, 0x2A6DF},
                                            {0x2A700, 0x2B73F},
                                            {0x2B740, 0x2B81F},
                                            {0x2B920, 0x2CEAF},
                                            {0x2F800, 0x2FA1F}}};

// Marks, punctuation and format characters that came after Unicode 8, whose tables the reference
// (the tokenizers library) still uses: it neither drops nor splits them. Found by asking it about
// every code point.
constexpr std::array<Range, 43> kLate{{
    {0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x8E2},     {0x9FD, 0x9FE},
    {0xA76, 0xA76},     {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC3C},
    {0xC77, 0xC77},     {0xC84, 0xC84},     {0xD00, 0xD00},     {0xD3B, 0xD3C},
    {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x166D, 0x166D},
    {0x1734, 0x1734},   {0x180F, 0x1886},   {0x1ABF, 0x1ACE},   {0x1B7D, 0x1B7E},
    {0x1DF6, 0x1DFB},   {0x2E43, 0x2E5D},   {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},
    {0xA8FF, 0xA8FF},   {0xA9BD, 0xA9BD},   {0x10D24, 0x10F89}, {0x11070, 0x11074},
    {0x110C2, 0x110CD}, {0x111C9, 0x111C9}, {0x111CF, 0x111CF}, {0x1123E, 0x11241},
    {0x1133B, 0x1133B}, {0x11438, 0x1145E}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
    {0x1182F, 0x11FFF}, {0x12FF1, 0x13455}, {0x16E97, 0x16F4F}, {0x16FE2, 0x16FE4},
    {0x1CF00, 0x1CF46}, {0x1E000, 0x1E4EF}, {0x1E944, 0x1E95F},
}};

utf8proc_category_t category_of(char32_t code) noexcept {
  switch (code) {
    case 0x166D:  // these three were of another category then
    case 0x111C9:
      return UTF8PROC_CATEGORY_PO;
    case 0x1734:
      return UTF8PROC_CATEGORY_MN;
    default:
      return is_in(kLate, code) ? UTF8PROC_CATEGORY_CN
                                : utf8proc_category(static_cast<utf8proc_int32_t>(code));
  }
}

bool is_dropped(char32_t code) noexcept {
  if (code == '\t' || code == '\n' || code == '\r') {
    return false;
  }
  if (code < 0x300) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD;
  }
  const auto category = category_of(code);
  return code == kReplacement || category == UTF8PROC_CATEGORY_CF ||
         category == UTF8PROC_CATEGORY_CO;
}

bool is_accent(char32_t code) noexcept {
  return code >= 0x300 && category_of(code) == UTF8PROC_CATEGORY_MN;
}

void append_lower(std::string& out, char32_t code) {
  if (code == 0x130) {  // the one letter whose lower case is two characters
    out += "i\xCC\x87";
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

void append_letter(std::string& out, char32_t code, const BertCleaning& how) {
  std::array<utf8proc_int32_t, 32> parts{static_cast<utf8proc_int32_t>(code)};
  utf8proc_ssize_t count = 1;
  if (how.strips_accents) {
    int boundary = 0;
    count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts.data(), parts.size(),
                                    UTF8PROC_DECOMPOSE, &boundary);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    const auto part = static_cast<char32_t>(parts[static_cast<size_t>(i)]);
    if (how.strips_accents && is_accent(part)) {
      continue;
    }
    if (how.lowers_case) {
      append_lower(out, part);
    } else {
      append_utf8(out, part);
    }
  }
}

void append_cleaned(std::string& out, char32_t code, const BertCleaning& how) {
  if (how.cleans_text && (code == 0 || is_dropped(code))) {
    return;
  }
  if (how.cleans_text && is_white_space(code)) {
    out.push_back(' ');
    return;
  }
  const bool is_spaced = how.spaces_ideographs && is_in(kIdeographs, code);
  out.append(is_spaced ? 1 : 0, ' ');
  append_letter(out, code, how);
  out.append(is_spaced ? 1 : 0, ' ');
}

}  // namespace

AlignedText clean_for_bert(std::string_view text, const BertCleaning& how) {
  AlignedBuilder builder;
  std::string cleaned;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    cleaned.clear();
    if (c.code >= 0x20 && c.code < 0x7F) {
      const bool is_upper = how.lowers_case && c.code >= 'A' && c.code <= 'Z';
      cleaned.push_back(static_cast<char>(is_upper ? c.code + 32 : c.code));
    } else {
      append_cleaned(cleaned, c.code, how);
    }
    builder.replace(cleaned, c.length);
    at += c.length;
  }
  return builder.take();
}

bool is_bert_punctuation(char32_t code) noexcept {
  if (code < 0x80) {
    return (code >= 0x21 && code <= 0x2F) || (code >= 0x3A && code <= 0x40) ||
           (code >= 0x5B && code <= 0x60) || (code >= 0x7B && code <= 0x7E);
  }
  const auto category = category_of(code);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

}  // namespace offbook::text
