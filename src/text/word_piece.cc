#include "src/text/word_piece.h"

#include <algorithm>
#include <utility>

#include "src/base/error.h"
#include "src/text/bert_normalizer.h"
#include "src/text/sections.h"
#include "src/text/unicode.h"
#include "src/text/word_cache.h"

namespace offbook::text {
namespace {

struct Hash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
};
using PieceIds = std::unordered_map<std::string, int32_t, Hash, std::equal_to<>>;

size_t characters_in(std::string_view word) {
  return static_cast<size_t>(std::count_if(
      word.begin(), word.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

class WordPieceTokenizer final : public Tokenizer {
 public:
  explicit WordPieceTokenizer(WordPieceSpec spec)
      : vocabulary_(std::move(spec.pieces), std::move(spec.types), spec.special),
        prefix_(std::move(spec.continuing_prefix)),
        cleaning_{spec.cleans_text, spec.spaces_ideographs, spec.strips_accents, spec.lowers_case},
        longest_word_(spec.longest_word),
        added_(spec.added) {
    OB_REQUIRE(vocabulary_.special().unk, Corrupt, "WordPiece: there is no unknown token");
    OB_REQUIRE(!prefix_.empty(), Unsupported, "WordPiece: the continuing prefix is empty");
    for (const AddedToken& token : spec.added) {
      OB_REQUIRE(token.id >= 0 && token.id < vocabulary_.size(), Corrupt,
                 "added token \"{}\" is id {}, but there are {} tokens", token.content, token.id,
                 vocabulary_.size());
    }
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string& piece = vocabulary_.piece(id);
      first_[piece] = id;
      longest_piece_ = std::max(longest_piece_, piece.size());
      if (piece.starts_with(prefix_)) {
        next_[piece.substr(prefix_.size())] = id;
      }
    }
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    return encode_sections(text, options, vocabulary_.special(), added_,
                           [this](const SectionText& section, TokenSink& sink) {
                             encode_section(section.text, sink);
                           });
  }

  void append_bytes(int32_t id, std::string& out) const override {
    if (vocabulary_.type(id) == TokenType::control) {
      return;
    }
    const std::string& piece = vocabulary_.piece(id);
    if (piece.starts_with(prefix_)) {
      out += std::string_view(piece).substr(prefix_.size());
    } else {
      out += ' ';
      out += piece;
    }
  }

  bool begins_with_space() const noexcept override { return true; }
  const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  void encode_section(std::string_view section, TokenSink& sink) const {
    const AlignedText cleaned = clean_for_bert(section, cleaning_);
    sink.set_changed(cleaned.map);
    const std::string_view text = cleaned.text;
    size_t word = 0;
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = decode_utf8(text, at);
      const size_t end = at + c.length;
      const bool is_space = is_white_space(c.code);
      if (is_space || is_bert_punctuation(c.code)) {
        encode_word(text, {word, at}, sink);
        if (!is_space) {
          encode_word(text, {at, end}, sink);
        }
        word = end;
      }
      at = end;
    }
    encode_word(text, {word, text.size()}, sink);
  }

  void encode_word(std::string_view text, ByteSpan span, TokenSink& sink) const {
    if (span.begin == span.end) {
      return;
    }
    const std::string_view word = text.substr(span.begin, span.end - span.begin);
    std::vector<Symbol> pieces;
    if (characters_in(word) > longest_word_ || !match(word, pieces)) {
      sink.add(*vocabulary_.special().unk, span.begin, span.end);
      return;
    }
    for (const Symbol& piece : pieces) {
      sink.add(piece.id, span.begin + piece.begin, span.begin + piece.end);
    }
  }

  struct Symbol {
    int32_t id;
    size_t begin, end;
  };

  // Longest piece first, from left to right; false when a rest is no piece.
  bool match(std::string_view word, std::vector<Symbol>& pieces) const {
    for (size_t begin = 0; begin < word.size();) {
      const PieceIds& ids = begin == 0 ? first_ : next_;
      size_t end = std::min(word.size(), begin + longest_piece_);
      auto found = ids.end();
      for (; end > begin; --end) {
        const bool cuts_character =
            end < word.size() && (static_cast<uint8_t>(word[end]) & 0xC0) == 0x80;
        if (!cuts_character) {
          found = ids.find(word.substr(begin, end - begin));
          if (found != ids.end()) {
            break;
          }
        }
      }
      if (found == ids.end()) {
        return false;
      }
      pieces.push_back({found->second, begin, end});
      begin = end;
    }
    return true;
  }

  Vocabulary vocabulary_;
  std::string prefix_;
  BertCleaning cleaning_;
  size_t longest_word_;
  size_t longest_piece_ = 0;
  PieceIds first_;  // by piece
  PieceIds next_;   // by piece without its prefix
  AddedTokens added_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_word_piece_tokenizer(WordPieceSpec spec) {
  return std::make_unique<WordPieceTokenizer>(std::move(spec));
}

}  // namespace offbook::text
