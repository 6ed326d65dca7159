// SentencePiece's own files (tokenizer.model), read by its library.
#pragma once
#include <memory>
#include <string_view>

#include "src/text/tokenizer.h"

namespace offbook::text {

struct SentencePieceOptions {
  bool add_bos = true;  // the file does not say; Llama 2 and Mistral want it
  bool add_eos = false;
};

// `model` is the whole file. Corrupt when the library refuses it. BPE and unigram kinds; control
// pieces are found in the text with EncodeOptions::parse_special only.
std::unique_ptr<Tokenizer> make_sentence_piece_tokenizer(std::string_view model,
                                                         SentencePieceOptions options = {});

}  // namespace offbook::text
