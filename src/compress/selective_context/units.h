// A document as Selective Context sees it: white space collapsed, cut into sentences, and these
// into units that are kept or dropped whole. Everything is byte offsets; nothing is found by
// matching strings.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/records/document.h"

namespace offbook::compress {

// Runs of white space (as Python's \s) are one space each; `source[i]` is the byte of the original
// that byte i came from, with one entry more for the end.
struct CollapsedText {
  std::string text;
  std::vector<uint64_t> source;

  // The bytes of the original that bytes [begin, end) of `text` stand for.
  ByteSpan source_span(ByteSpan span) const;
};
CollapsedText collapse_white_space(std::string_view text);

// Sentences of a collapsed text, without spaces at their ends: it is cut at a space after "." or
// "?", but not after x.y. nor after a capital, a lower-case letter and a full stop ("Mr."); "!"
// ends no sentence. Linear.
std::vector<ByteSpan> reference_sentences(std::string_view collapsed);

// What is kept or dropped as a whole. Units of one text follow each other and cover it: what stands
// between two (a space) belongs to the second.
struct Unit {
  ByteSpan span;           // in the collapsed text
  double information = 0;  // NaN where no token ends in it: such units are always kept
};

// A token of a sentence with its surprisal in nats.
struct ScoredToken {
  ByteSpan span;  // in the collapsed text
  double surprisal = 0;
};

enum class UnitLevel : uint8_t { token, phrase, sentence };
// Mean is what the published program computes, sum what the paper writes (its eq. 6).
enum class UnitValue : uint8_t { mean, sum };

// One sentence, scored.
struct ScoredSentence {
  ByteSpan span;
  std::vector<ScoredToken> tokens;  // in order
};

// The units of a text. `phrases` (in collapsed bytes, in order) are read at level phrase only;
// those across the end of a sentence are cut there, and text that no phrase covers joins the next
// phrase. A token counts for the unit in which it ends; one that runs over the ends of k units
// gives each of them 1/k of its value and nothing to the unit it only begins; a token that is one
// space inside a unit is left out.
struct UnitOptions {
  UnitLevel level = UnitLevel::phrase;
  UnitValue value = UnitValue::mean;
};
std::vector<Unit> make_units(std::string_view collapsed, std::span<const ScoredSentence> sentences,
                             std::span<const ByteSpan> phrases, const UnitOptions& options);

}  // namespace offbook::compress
