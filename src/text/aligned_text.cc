#include "src/text/aligned_text.h"

#include <algorithm>

#include <utf8proc.h>

namespace offbook::text {
namespace {

// Below this every character stands for itself in the composed forms and starts a sequence.
constexpr char32_t first_unstable(NormalForm form) {
  return form == NormalForm::nfc ? 0x300 : form == NormalForm::nfd ? 0xC0 : 0xA0;
}

// May this character join with, or be reordered against, what stands before it? Marks do; so do
// Hangul vowels and final consonants, and the half-width forms of marks and of Hangul.
bool joins_previous(char32_t code) noexcept {
  if (code < 0x300) {
    return false;
  }
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME || (code >= 0x1160 && code <= 0x11FF) ||
         (code >= 0xFF9E && code <= 0xFFDC);
}

// A single character that the form leaves as it is; saves a call with an allocation for most CJK.
bool is_stable(char32_t code, NormalForm form) noexcept {
  if (code < first_unstable(form)) {
    return true;
  }
  const bool is_hangul_syllable = code >= 0xAC00 && code <= 0xD7A3;
  const bool is_composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  return (is_composed || !is_hangul_syllable) &&
         utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->decomp_seqindex == UINT16_MAX;
}

}  // namespace

ByteSpan SpanMap::byte_source(uint64_t at, Cursor& cursor) const noexcept {
  size_t& next = cursor.next;
  const auto begins_after = [this](uint64_t place, size_t i) {
    return place < edits_[i].out_begin;
  };
  constexpr size_t kSteps = 8;  // a neighbour is near; anything else is searched for
  size_t steps = 0;
  if (next > 0 && begins_after(at, next - 1)) {
    steps = kSteps;
  }
  while (steps < kSteps && next < edits_.size() && !begins_after(at, next)) {
    ++next;
    ++steps;
  }
  if (steps == kSteps) {
    next = static_cast<size_t>(
        std::upper_bound(edits_.begin(), edits_.end(), at,
                         [](uint64_t a, const Edit& e) { return a < e.out_begin; }) -
        edits_.begin());
  }
  if (next == 0) {
    return {at, at + 1};
  }
  const Edit& edit = edits_[next - 1];
  if (at < edit.out_end) {
    return {edit.source_begin, edit.source_end};
  }
  const uint64_t source = edit.source_end + (at - edit.out_end);
  return {source, source + 1};
}

ByteSpan SpanMap::to_source(ByteSpan span, Cursor& cursor) const noexcept {
  if (edits_.empty()) {
    return span;
  }
  const uint64_t begin = byte_source(span.begin, cursor).begin;
  return {begin, span.end > span.begin ? byte_source(span.end - 1, cursor).end : begin};
}

void AlignedBuilder::replace(std::string_view out, uint64_t source_bytes) {
  const uint64_t at = result_.text.size();
  if (out.size() != source_bytes) {
    result_.map.add({at, at + out.size(), source_at_, source_at_ + source_bytes});
  }
  result_.text.append(out);
  source_at_ += source_bytes;
}

AlignedText repair_utf8(std::string_view text) {
  AlignedBuilder builder;
  while (true) {
    const size_t bad = find_invalid_utf8(text);
    builder.keep(text.substr(0, bad));
    if (bad == std::string_view::npos) {
      return builder.take();
    }
    const uint32_t length = decode_utf8(text, bad).length;
    builder.replace("\xEF\xBF\xBD", length);
    text.remove_prefix(bad + length);
  }
}

bool may_change(std::string_view text, NormalForm form) noexcept {
  // Lead bytes 0xC3 and 0xCC are where U+00C0 and U+0300 begin; 0xC2 holds U+00A0.
  const uint8_t first = form == NormalForm::nfc ? 0xCC : form == NormalForm::nfd ? 0xC3 : 0xC2;
  return std::any_of(text.begin(), text.end(),
                     [first](char c) { return static_cast<uint8_t>(c) >= first; });
}

AlignedText normalize_aligned(std::string_view text, NormalForm form) {
  AlignedBuilder builder;
  size_t at = 0;
  while (at < text.size()) {
    const size_t begin = at;
    const Utf8Char first = decode_utf8(text, at);
    at += first.length;
    const size_t first_end = at;
    Utf8Char c;
    while (at < text.size() && joins_previous((c = decode_utf8(text, at)).code)) {
      at += c.length;
    }
    const std::string_view sequence = text.substr(begin, at - begin);
    if (at == first_end && is_stable(first.code, form)) {
      builder.keep(sequence);
    } else {
      builder.replace(normalize(sequence, form), sequence.size());
    }
  }
  return builder.take();
}

}  // namespace offbook::text
