// The frame around every tokeniser of this folder: repair the bytes, find added tokens, hand on the
// text between them, put bos and eos round it, and name the source of each token.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>

#include "src/text/added_tokens.h"
#include "src/text/aligned_text.h"
#include "src/text/tokenizer.h"

namespace offbook::text {

// Takes the tokens of one section and maps their places back to the caller's text.
class TokenSink {
 public:
  TokenSink(Encoding& out, const SpanMap& repair) : out_(out), repair_(repair) {}

  // Places that follow are relative to `base` in the repaired text.
  void open(uint64_t base) {
    base_ = base;
    changed_ = nullptr;
  }
  // From here on places are in a changed form of the section; `map` (not owned) leads back to it.
  void set_changed(const SpanMap& map) {
    changed_ = map.is_identity() ? nullptr : &map;
    cursor_ = {};
  }

  void add(int32_t id, uint64_t begin, uint64_t end) {
    ByteSpan span{begin, end};
    if (changed_ != nullptr) {
      span = changed_->to_source(span, cursor_);
    }
    out_.ids.push_back(id);
    out_.spans.push_back(repair_.to_source({span.begin + base_, span.end + base_}, repair_cursor_));
  }

 private:
  Encoding& out_;
  const SpanMap& repair_;
  const SpanMap* changed_ = nullptr;
  SpanMap::Cursor cursor_, repair_cursor_;
  uint64_t base_ = 0;
};

struct SectionText {
  std::string_view text;  // well-formed UTF-8, not empty
  bool is_start = false;  // nothing stands in front
  AddedKinds wanted;
};
using EncodeSection = std::function<void(const SectionText&, TokenSink&)>;

// Runs the frame; `encode_section` is called for the text between added tokens.
Encoding encode_sections(std::string_view text, const EncodeOptions& options,
                         const SpecialIds& special, const AddedTokens& added,
                         const EncodeSection& encode_section);

}  // namespace offbook::text
