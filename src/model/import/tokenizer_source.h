// The tokenizer that belongs to a model, whichever file holds it.
#pragma once
#include <string>

#include "src/base/file_system.h"
#include "src/model/import/gguf.h"
#include "src/model/import/weights.h"
#include "src/text/gguf_vocabulary.h"
#include "src/text/tokenizer_files.h"

namespace offbook::model {

// tokenizer.* metadata as it stands in the file; nothing is interpreted here.
struct TokenizerSource {
  text::GgufVocabulary vocabulary;
  std::string chat_template;  // Jinja text; empty: the file has none
};

// Errors: Corrupt for a key of another type than the format says, more tokens than the embedding
// has rows, or scores or types that are not one a token. Cost: one copy of the strings.
TokenizerSource tokenizer_source_of_gguf(const GgufFile& file);

// From GGUF metadata, or from the files of the model's directory. Errors as above and those of
// text/gguf_vocabulary.h and text/tokenizer_files.h; Corrupt if the tokenizer has more entries than
// the model has embeddings.
text::LoadedTokenizer load_tokenizer(FileSystem& fs, const ModelFiles& files);

}  // namespace offbook::model
