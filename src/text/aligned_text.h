// Text that was changed on its way to the tokeniser, and the way back to the bytes it came from.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/records/document.h"
#include "src/text/unicode.h"

namespace offbook::text {

// Offsets of a changed text → offsets of its source. Stretches whose length did not change map one
// to one and cost nothing; the rest are edits, kept in order. Lookup: O(log edits).
class SpanMap {
 public:
  // out[out_begin, out_end) came from source[source_begin, source_end); either may be empty.
  struct Edit {
    uint64_t out_begin, out_end, source_begin, source_end;
  };

  void add(const Edit& edit) { edits_.push_back(edit); }  // in order of out_begin
  bool is_identity() const noexcept { return edits_.empty(); }

  // Where the last lookup ended; lookups that rise through the text then cost O(1) each.
  struct Cursor {
    size_t next = 0;  // edits before it begin at or before the place looked up last
  };

  // The source of out[span]; an edit is never split. An empty span maps to one place.
  ByteSpan to_source(ByteSpan span, Cursor& cursor) const noexcept;
  ByteSpan to_source(ByteSpan span) const noexcept {
    Cursor cursor;
    return to_source(span, cursor);
  }

 private:
  ByteSpan byte_source(uint64_t at, Cursor& cursor) const noexcept;

  std::vector<Edit> edits_;
};

struct AlignedText {
  std::string text;
  SpanMap map;
};

// Builds an AlignedText from consecutive pieces of a source text.
class AlignedBuilder {
 public:
  // Appends `out` in place of the next `source_bytes` bytes of the source.
  void replace(std::string_view out, uint64_t source_bytes);
  void keep(std::string_view piece) { replace(piece, piece.size()); }

  std::string_view text() const noexcept { return result_.text; }
  AlignedText take() { return std::move(result_); }

 private:
  AlignedText result_;
  uint64_t source_at_ = 0;
};

// Ill-formed bytes → U+FFFD. Only worth calling where find_invalid_utf8 found one.
AlignedText repair_utf8(std::string_view text);

// NFC, NFD, NFKC or NFKD of well-formed text; edits are as small as combining sequences.
AlignedText normalize_aligned(std::string_view text, NormalForm form);

// Can the form change this text at all? False for most Western text: a scan without allocation.
bool may_change(std::string_view text, NormalForm form) noexcept;

}  // namespace offbook::text
