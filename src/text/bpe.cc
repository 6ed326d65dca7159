#include "src/text/bpe.h"

#include <utility>

#include "src/base/error.h"
#include "src/text/aligned_text.h"
#include "src/text/merge.h"
#include "src/text/sections.h"
#include "src/text/word_cache.h"

namespace offbook::text {
namespace {

// Bytes that are printable in Latin-1 are spelled as themselves, the rest as U+0100 onwards.
bool is_own_letter(uint32_t byte) noexcept {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The bytes a piece stands for; a piece outside the alphabet (an added token) stands for itself.
std::string bytes_of_piece(std::string_view piece) {
  std::string bytes;
  for (size_t at = 0; at < piece.size();) {
    const Utf8Char c = decode_utf8(piece, at);
    const auto byte = c.is_valid ? letter_to_byte(c.code) : std::nullopt;
    if (!byte) {
      return std::string(piece);
    }
    bytes.push_back(static_cast<char>(*byte));
    at += c.length;
  }
  return bytes;
}

MergeTable table_of(const std::vector<std::array<std::string, 2>>& merges,
                    const Vocabulary& vocabulary) {
  MergeTable table(merges.size());
  const auto id_of = [&](const std::string& piece, size_t rank) {
    const auto id = vocabulary.find(piece);
    OB_REQUIRE(id, Corrupt, "BPE merge {} (\"{}\" \"{}\"): \"{}\" is not in the vocabulary", rank,
               merges[rank][0], merges[rank][1], piece);
    return *id;
  };
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    table.insert(id_of(left, rank), id_of(right, rank),
                 {id_of(left + right, rank), static_cast<uint32_t>(rank)});
  }
  return table;
}

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeSpec spec)
      : vocabulary_(std::move(spec.pieces), std::move(spec.types), spec.special),
        merges_(table_of(spec.merges, vocabulary_)),
        pre_tokenizer_(spec.pre_tokenizer),
        normal_form_(spec.normal_form),
        takes_whole_words_(spec.takes_whole_words) {
    take_bytes();
    take_added(std::move(spec.added));
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    return encode_sections(
        text, options, vocabulary_.special(), added_,
        [this](const SectionText& section, TokenSink& sink) { encode_section(section, sink); });
  }

  void append_bytes(int32_t id, std::string& out) const override {
    if (vocabulary_.type(id) != TokenType::control) {
      out += bytes_[static_cast<size_t>(id)];
    }
  }
  bool begins_with_space() const noexcept override { return false; }
  const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  void take_bytes() {
    bytes_.reserve(static_cast<size_t>(vocabulary_.size()));
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      bytes_.push_back(bytes_of_piece(vocabulary_.piece(id)));
      if (takes_whole_words_) {
        whole_words_[bytes_.back()] = id;
      }
    }
    for (uint32_t byte = 0; byte < 256; ++byte) {
      std::string letter;
      append_utf8(letter, byte_to_letter(static_cast<uint8_t>(byte)));
      byte_ids_[byte] = vocabulary_.find(letter).value_or(-1);
    }
  }

  void take_added(std::vector<AddedToken> added) {
    std::vector<AddedToken> plain, normalized;
    for (AddedToken& token : added) {
      OB_REQUIRE(token.id >= 0 && token.id < vocabulary_.size(), Corrupt,
                 "added token \"{}\" is id {}, but there are {} tokens", token.content, token.id,
                 vocabulary_.size());
      bytes_[static_cast<size_t>(token.id)] = token.content;
      if (token.is_normalized && normal_form_) {
        token.content = normalize(token.content, *normal_form_);
      }
      (token.is_normalized ? normalized : plain).push_back(std::move(token));
    }
    added_ = AddedTokens(std::move(plain));
    normalized_added_ = AddedTokens(std::move(normalized));
  }

  void encode_section(const SectionText& section, TokenSink& sink) const {
    AlignedText changed;
    std::string_view text = section.text;
    if (normal_form_ && may_change(text, *normal_form_)) {
      changed = normalize_aligned(text, *normal_form_);
      text = changed.text;
      sink.set_changed(changed.map);
    }
    Scratch scratch;
    for (const Section& part : normalized_added_.split(text, section.wanted)) {
      if (part.token != nullptr) {
        sink.add(part.token->id, part.begin, part.end);
        continue;
      }
      const std::string_view piece = text.substr(part.begin, part.end - part.begin);
      PreTokenizer::Walk walk(pre_tokenizer_, piece);
      while (const auto word = walk.next()) {
        encode_word(piece.substr(word->begin, word->end - word->begin), part.begin + word->begin,
                    scratch, sink);
      }
    }
  }

  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<int32_t> ids;
  };

  void encode_word(std::string_view word, uint64_t begin, Scratch& scratch, TokenSink& sink) const {
    if (takes_whole_words_) {
      if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
        return sink.add(whole->second, begin, begin + word.size());
      }
    }
    scratch.ids.clear();
    if (cache_.find(word, scratch.ids)) {
      for (const int32_t id : scratch.ids) {
        const uint64_t end = begin + bytes_[static_cast<size_t>(id)].size();
        sink.add(id, begin, end);
        begin = end;
      }
      return;
    }
    merge_word(word, scratch.symbols);
    for (const Symbol& symbol : scratch.symbols) {
      sink.add(symbol.id, begin + symbol.begin, begin + symbol.end);
      scratch.ids.push_back(symbol.id);
    }
    if (!scratch.symbols.empty() && has_every_byte(word)) {
      cache_.put(word, scratch.ids.data(), scratch.ids.size());
    }
  }

  void merge_word(std::string_view word, std::vector<Symbol>& symbols) const {
    symbols.clear();
    for (uint32_t i = 0; i < word.size(); ++i) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(word[i])];
      if (id >= 0) {  // as the reference does, a byte the vocabulary cannot spell is left out
        symbols.push_back({id, i, i + 1});
      }
    }
    merge_symbols(symbols, [this](const Symbol& left, const Symbol& right) {
      return merges_.find(left.id, right.id);
    });
  }

  // The cache holds ids alone, so their lengths must add up to the word.
  bool has_every_byte(std::string_view word) const {
    for (const char c : word) {
      if (byte_ids_[static_cast<uint8_t>(c)] < 0) {
        return false;
      }
    }
    return true;
  }

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const noexcept {
      return std::hash<std::string_view>{}(s);
    }
  };

  Vocabulary vocabulary_;
  MergeTable merges_;
  PreTokenizer pre_tokenizer_;
  std::optional<NormalForm> normal_form_;
  bool takes_whole_words_;
  std::vector<std::string> bytes_;  // of each id
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> whole_words_;
  std::array<int32_t, 256> byte_ids_{};
  AddedTokens added_;
  AddedTokens normalized_added_;
  mutable WordCache cache_;
};

}  // namespace

char32_t byte_to_letter(uint8_t byte) noexcept {
  if (is_own_letter(byte)) {
    return byte;
  }
  // The others in order: 0x00…0x20, 0x7F…0xA0, 0xAD.
  const uint32_t place = byte <= 0x20 ? byte : byte <= 0xA0 ? 33u + byte - 0x7F : 67u;
  return 0x100 + place;
}

std::optional<uint8_t> letter_to_byte(char32_t letter) noexcept {
  if (letter < 0x100) {
    return is_own_letter(letter) ? std::optional(static_cast<uint8_t>(letter)) : std::nullopt;
  }
  const uint32_t place = letter - 0x100;
  if (place > 67) {
    return std::nullopt;
  }
  return static_cast<uint8_t>(place <= 0x20 ? place : place < 67 ? 0x7F + place - 33 : 0xAD);
}

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeSpec spec) {
  return std::make_unique<BpeTokenizer>(std::move(spec));
}

}  // namespace offbook::text
