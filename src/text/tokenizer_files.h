// The tokeniser of a model directory.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "src/base/file_system.h"
#include "src/text/tokenizer.h"

namespace offbook::text {

struct LoadedTokenizer {
  std::unique_ptr<Tokenizer> tokenizer;
  std::string chat_template;  // empty: the directory has none
};

// Reads tokenizer.json, else tokenizer.model, with tokenizer_config.json and chat_template.jinja
// where they are. NotFound when neither is there; else the errors of tokenizer_json.h and
// sentence_piece.h.
LoadedTokenizer load_tokenizer(FileSystem& fs, const std::filesystem::path& directory);

}  // namespace offbook::text
