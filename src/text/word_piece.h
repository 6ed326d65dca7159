// WordPiece with BERT's cleaning: what all-MiniLM-L6-v2 and other sentence encoders read.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "src/text/added_tokens.h"
#include "src/text/tokenizer.h"

namespace offbook::text {

struct WordPieceSpec {
  std::vector<std::string> pieces;  // "##" in front of pieces that go on with a word
  std::vector<TokenType> types;     // empty: all normal
  std::vector<AddedToken> added;
  SpecialIds special;  // bos = [CLS], eos = [SEP]; unk must be there
  std::string continuing_prefix = "##";
  bool cleans_text = true;        // drops control characters, turns white space into spaces
  bool spaces_ideographs = true;  // every CJK ideograph is a word
  bool strips_accents = true;     // NFD without marks
  bool lowers_case = true;
  size_t longest_word = 100;  // characters; a longer word is one unknown token
};

// Corrupt without an unknown token. Spans leave out white space and dropped characters.
std::unique_ptr<Tokenizer> make_word_piece_tokenizer(WordPieceSpec spec);

}  // namespace offbook::text
