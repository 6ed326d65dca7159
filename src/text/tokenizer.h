// Text ↔ token ids: what every tokeniser of offbook can do, whatever file it came from.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/records/document.h"

namespace offbook::text {

// What a vocabulary entry is. The numbers are those of GGUF's tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,       // <s>, <|im_end|>…: steers the model, is never read from plain text
  user_defined = 4,  // found in text before anything else, and ordinary text otherwise
  unused = 5,
  byte = 6,  // one raw byte, spelled <0x41>
};

// The ids a prompt needs by name, where the vocabulary has them.
struct SpecialIds {
  std::optional<int32_t> bos, eos, unk, pad;
  bool add_bos = false;  // does encode() put bos in front ([CLS] counts as bos)
  bool add_eos = false;  // does encode() put eos behind ([SEP] counts as eos)
};

// Pieces by id and ids by piece. A piece is spelled as in the file the vocabulary came from
// ("Ġthe", "▁the", "##ing"). Immutable after construction.
class Vocabulary {
 public:
  Vocabulary() = default;
  // Empty `types` means all normal. Corrupt when the sizes differ, a type is out of range or a
  // special id is not below pieces.size(). Where two ids have one piece, the last is found; an
  // empty piece (an id the file leaves free) never is.
  Vocabulary(std::vector<std::string> pieces, std::vector<TokenType> types, SpecialIds special);

  int32_t size() const noexcept { return static_cast<int32_t>(pieces_.size()); }
  const SpecialIds& special() const noexcept { return special_; }
  std::optional<int32_t> find(std::string_view piece) const;
  // InvalidArgument for an id outside [0, size()).
  const std::string& piece(int32_t id) const { return pieces_[checked(id)]; }
  TokenType type(int32_t id) const { return types_[checked(id)]; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const noexcept {
      return std::hash<std::string_view>{}(s);
    }
  };
  size_t checked(int32_t id) const;

  std::vector<std::string> pieces_;
  std::vector<TokenType> types_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  SpecialIds special_;
};

struct EncodeOptions {
  bool add_special = true;       // bos/eos, as SpecialIds::add_bos and add_eos say
  bool parse_special = false;    // read the spelling of control tokens in the text as those tokens
  bool parse_added = true;       // the same for tokens that users added (TokenType::user_defined)
  bool is_continuation = false;  // other tokens stand in front: no SpacePrefix::start
};

// ids[i] came from text[spans[i]]: spans rise, and cover the text up to what the tokeniser drops
// (white space in WordPiece). A token that holds a part of a character has a span inside it; bytes
// changed by normalisation, or not UTF-8, are named as a whole. bos and eos have empty spans.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<ByteSpan> spans;
};

// Thread-safe: any number of threads may use one const Tokenizer.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Bytes that are not UTF-8 read as U+FFFD (unicode.h). InvalidArgument for a text of 2 GiB or
  // more. O(n log n) for any text; the common case is linear, 5–30 MB/s.
  virtual Encoding encode(std::string_view text, const EncodeOptions& options) const = 0;

  // Appends the bytes token `id` stands for inside a text; they may be a part of a character.
  // Nothing for control tokens. InvalidArgument for an id outside the vocabulary.
  virtual void append_bytes(int32_t id, std::string& out) const = 0;

  // Does a text begin with a space of the tokeniser's own, which decoding takes away again?
  virtual bool begins_with_space() const noexcept = 0;

  virtual const Vocabulary& vocabulary() const noexcept = 0;

  Encoding encode(std::string_view text) const { return encode(text, EncodeOptions{}); }
  int32_t vocab_size() const noexcept { return vocabulary().size(); }
  const SpecialIds& special() const noexcept { return vocabulary().special(); }
};

struct DecodeOptions {
  bool show_control = false;  // spell control tokens out instead of leaving them away
};

// Tokens → text, one token at a time: never gives a part of a character, and ill-formed bytes are
// U+FFFD. Keeps a reference to the tokeniser. Not thread-safe.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options = {});

  // The text that has become certain with this token; often empty inside emoji and CJK.
  std::string push(int32_t id);
  // What was held back (U+FFFD, as the character never came to its end), and starts anew.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  std::string pending_;
  bool drops_space_;
};

// All of it at once: the same as pushing every id and finishing.
std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                   DecodeOptions options = {});

}  // namespace offbook::text
