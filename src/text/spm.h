// BPE over characters in SentencePiece's spelling, where "▁" is the space: Llama 2 and Mistral,
// from GGUF metadata ("llama", pieces with scores) or tokenizer.json (pieces with merges).
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "src/text/added_tokens.h"
#include "src/text/tokenizer.h"

namespace offbook::text {

// Where a "▁" of the tokeniser's own is put in front.
enum class SpacePrefix : uint8_t {
  never,
  start,    // of the text
  section,  // of the text, and behind every added token
};

// Exactly one of `scores` and `merges` decides what is joined first.
struct SpmSpec {
  std::vector<std::string> pieces;
  std::vector<TokenType> types;  // empty: all normal. Pieces <0x00>…<0xFF> of type byte or normal
                                 // are what unknown characters fall back to, if all 256 are there
  std::vector<float> scores;     // higher first; a pair joins if the joint is a normal piece
  std::vector<std::array<std::string, 2>> merges;  // best first
  std::vector<AddedToken> added;
  SpecialIds special;
  SpacePrefix prefix = SpacePrefix::section;
  bool keeps_first_space = false;    // no prefix in front of a text that begins with a space
  bool cuts_at_every_space = false;  // no piece goes over a "▁": words of Metaspace with split
  bool falls_back_to_bytes = true;
  bool fuses_unknown = true;  // neighbouring unknown characters are one token
};

// Corrupt when scores or merges contradict the pieces; Unsupported when neither bytes nor an
// unknown token stand for characters that are no piece.
std::unique_ptr<Tokenizer> make_spm_tokenizer(SpmSpec spec);

}  // namespace offbook::text
