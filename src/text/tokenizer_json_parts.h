// The components of a tokenizer.json, each read into plain data (tokenizer_json.cc puts them
// together).
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "src/base/json_fields.h"
#include "src/text/added_tokens.h"
#include "src/text/pre_tokenizer.h"
#include "src/text/spm.h"
#include "src/text/tokenizer.h"
#include "src/text/unicode.h"
#include "src/text/word_piece.h"

namespace offbook::text {

// An object with a "type", or a flattened Sequence of such: all components come this way.
struct Component {
  std::string type;
  JsonFields fields;
};

// The components under `key`, Sequences unfolded in order (`children` names their array). Empty for
// null. Corrupt above 64 components.
std::vector<Component> read_components(const JsonFields& file, const std::string& key,
                                       const std::string& children);

// Unsupported, naming the component and its place.
[[noreturn]] void refuse(const Component& component, std::string_view why);

struct JsonVocabulary {
  std::vector<std::string> pieces;
  std::vector<TokenType> types;
  std::vector<AddedToken> added;
};
// "vocab" of the model and "added_tokens" of the file, by id; ids nobody has are unused.
JsonVocabulary read_vocabulary(const JsonFields& file, const JsonFields& model);

// "merges", as "a b" or ["a", "b"].
std::vector<std::array<std::string, 2>> read_merges(const JsonFields& model);

// The pre-tokeniser of a byte-level model; empty when there is no ByteLevel component.
std::optional<PreTokenizerKind> read_byte_level(const JsonFields& file);

// The normal form of a byte-level model's normaliser.
std::optional<NormalForm> read_normal_form(const JsonFields& file);

// How a ▁ model spells spaces, from Prepend/Replace or Metaspace.
void read_space_spelling(const JsonFields& file, SpmSpec& spec);

// BertNormalizer and BertPreTokenizer.
void read_bert(const JsonFields& file, WordPieceSpec& spec);

// bos and eos of the post-processor (spellings).
struct Frame {
  std::optional<std::string> before, after;
};
Frame read_frame(const JsonFields& file);

// Unsupported for a decoder other than those named.
void check_decoder(const JsonFields& file, std::initializer_list<std::string_view> known);

}  // namespace offbook::text
