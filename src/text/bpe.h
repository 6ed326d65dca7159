// Byte-level BPE: GPT-2's scheme, used by SmolLM2, Llama 3 and Qwen.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/text/added_tokens.h"
#include "src/text/pre_tokenizer.h"
#include "src/text/tokenizer.h"
#include "src/text/unicode.h"

namespace offbook::text {

// A tokeniser as data; GGUF metadata and tokenizer.json both fill it.
struct BpeSpec {
  std::vector<std::string> pieces;  // spelled in GPT-2's alphabet, where "Ġ" is the space
  std::vector<TokenType> types;     // empty: all normal
  // Pairs of pieces, best first; both and their joint must be pieces.
  std::vector<std::array<std::string, 2>> merges;
  std::vector<AddedToken> added;
  SpecialIds special;
  PreTokenizerKind pre_tokenizer = PreTokenizerKind::gpt2;
  std::optional<NormalForm> normal_form;  // applied to the text first (Qwen: NFC)
  bool takes_whole_words = false;  // a word that is a piece is that token, whatever the merges
};

// Corrupt when a merge names a piece that is not there, or an id is out of range.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeSpec spec);

// GPT-2's alphabet: the character a byte is spelled with, and back (empty for other characters).
char32_t byte_to_letter(uint8_t byte) noexcept;
std::optional<uint8_t> letter_to_byte(char32_t letter) noexcept;

}  // namespace offbook::text
