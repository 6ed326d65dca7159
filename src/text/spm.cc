#include "src/text/spm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "src/base/error.h"
#include "src/text/aligned_text.h"
#include "src/text/merge.h"
#include "src/text/sections.h"
#include "src/text/word_cache.h"

namespace offbook::text {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁ U+2581

bool is_mergeable(TokenType type) {
  return type == TokenType::normal || type == TokenType::user_defined;
}

// Does "▁" stand behind another character? Then words cannot be cut in front of it.
bool spans_words(std::string_view piece) {
  size_t at = 0;
  while (piece.substr(at).starts_with(kSpace)) {
    at += kSpace.size();
  }
  return piece.find(kSpace, at) != std::string_view::npos;
}

class SpmTokenizer final : public Tokenizer {
 public:
  explicit SpmTokenizer(SpmSpec spec)
      : vocabulary_(std::move(spec.pieces), std::move(spec.types), spec.special),
        prefix_(spec.prefix),
        keeps_first_space_(spec.keeps_first_space),
        cuts_at_every_space_(spec.cuts_at_every_space),
        fuses_unknown_(spec.fuses_unknown),
        added_(spec.added) {
    for (const AddedToken& token : spec.added) {
      OB_REQUIRE(token.id >= 0 && token.id < vocabulary_.size(), Corrupt,
                 "added token \"{}\" is id {}, but there are {} tokens", token.content, token.id,
                 vocabulary_.size());
    }
    OB_REQUIRE(spec.scores.empty() != spec.merges.empty() || vocabulary_.size() == 0, Corrupt,
               "tokeniser: wanted either scores or merges, got {} and {}", spec.scores.size(),
               spec.merges.size());
    find_bytes(spec.falls_back_to_bytes);
    take_scores(spec.scores);
    take_merges(spec.merges);
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      if (is_mergeable(vocabulary_.type(id)) && !byte_of(id)) {
        longest_ = std::max(longest_, vocabulary_.piece(id).size());
        cuts_words_ = cuts_words_ && !spans_words(vocabulary_.piece(id));
      }
    }
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    return encode_sections(
        text, options, vocabulary_.special(), added_,
        [this](const SectionText& section, TokenSink& sink) { encode_section(section, sink); });
  }

  void append_bytes(int32_t id, std::string& out) const override {
    if (vocabulary_.type(id) == TokenType::control) {
      return;
    }
    if (const auto byte = byte_of(id)) {
      out.push_back(static_cast<char>(*byte));
      return;
    }
    std::string_view piece = vocabulary_.piece(id);
    for (size_t at; (at = piece.find(kSpace)) != std::string_view::npos;) {
      out.append(piece.substr(0, at)).push_back(' ');
      piece.remove_prefix(at + kSpace.size());
    }
    out += piece;
  }

  bool begins_with_space() const noexcept override { return prefix_ != SpacePrefix::never; }
  const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  void find_bytes(bool falls_back) {
    bool has_all = falls_back;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
      has_all = has_all && byte_ids_[byte] >= 0;
    }
    OB_REQUIRE(
        has_all || vocabulary_.special().unk, Unsupported,
        "tokeniser: unknown characters have neither byte tokens <0x00>…<0xFF> nor an unknown "
        "token to stand for them");
    if (!has_all) {
      byte_ids_.fill(-1);
    }
  }

  std::optional<uint8_t> byte_of(int32_t id) const {
    const std::string& piece = vocabulary_.piece(id);
    if (piece.size() != 6 || !piece.starts_with("<0x")) {
      return std::nullopt;
    }
    const auto found = std::find(byte_ids_.begin(), byte_ids_.end(), id);
    return found == byte_ids_.end()
               ? std::nullopt
               : std::optional(static_cast<uint8_t>(found - byte_ids_.begin()));
  }

  // Scores → ranks: equal scores get the same rank, so that the leftmost pair goes first.
  void take_scores(const std::vector<float>& scores) {
    if (scores.empty()) {
      return;
    }
    OB_REQUIRE(scores.size() == static_cast<size_t>(vocabulary_.size()), Corrupt,
               "tokeniser: {} pieces but {} scores", vocabulary_.size(), scores.size());
    OB_REQUIRE(std::none_of(scores.begin(), scores.end(), [](float s) { return std::isnan(s); }),
               Corrupt, "tokeniser: a score is not a number");
    std::vector<int32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
    });
    rank_of_.resize(scores.size());
    uint32_t rank = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      const auto id = static_cast<size_t>(order[i]);
      rank += i > 0 && scores[id] != scores[static_cast<size_t>(order[i - 1])];
      rank_of_[id] = rank;
    }
  }

  void take_merges(const std::vector<std::array<std::string, 2>>& merges) {
    merges_ = MergeTable(merges.size());
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const auto left = vocabulary_.find(merges[rank][0]);
      const auto right = vocabulary_.find(merges[rank][1]);
      const auto both = vocabulary_.find(merges[rank][0] + merges[rank][1]);
      OB_REQUIRE(left && right && both, Corrupt,
                 "BPE merge {} (\"{}\" \"{}\"): a part or the joint is not in the vocabulary", rank,
                 merges[rank][0], merges[rank][1]);
      merges_.insert(*left, *right, {*both, static_cast<uint32_t>(rank)});
    }
  }

  AlignedText spell(const SectionText& section) const {
    AlignedBuilder builder;
    const bool has_prefix =
        prefix_ == SpacePrefix::section || (prefix_ == SpacePrefix::start && section.is_start);
    const bool begins_with_space =
        section.text.starts_with(' ') || section.text.starts_with(kSpace);
    if (has_prefix && !(keeps_first_space_ && begins_with_space)) {
      builder.replace(kSpace, 0);
    }
    std::string_view rest = section.text;
    while (!rest.empty()) {
      const size_t space = std::min(rest.find(' '), rest.size());
      builder.keep(rest.substr(0, space));
      rest.remove_prefix(space);
      if (!rest.empty()) {
        builder.replace(kSpace, 1);
        rest.remove_prefix(1);
      }
    }
    return builder.take();
  }

  // End of the word that begins at `at`: words are cut in front of "▁" where no piece goes over it.
  size_t word_end(std::string_view text, size_t at) const {
    if (!cuts_words_ && !cuts_at_every_space_) {
      return text.size();
    }
    size_t end = at;
    if (cuts_at_every_space_) {
      end += text.substr(at).starts_with(kSpace) ? kSpace.size() : 0;
    } else {
      while (text.substr(end).starts_with(kSpace)) {
        end += kSpace.size();
      }
    }
    return std::min(text.find(kSpace, end), text.size());
  }

  void encode_section(const SectionText& section, TokenSink& sink) const {
    const AlignedText spelled = spell(section);
    sink.set_changed(spelled.map);
    std::vector<Symbol> symbols;
    std::vector<int32_t> cached;
    Unknown unknown;
    for (size_t at = 0; at < spelled.text.size();) {
      const size_t end = word_end(spelled.text, at);
      const std::string_view word = std::string_view(spelled.text).substr(at, end - at);
      cached.clear();
      if (cache_.find(word, cached)) {
        unknown.flush(*this, sink);
        emit_cached(cached, at, sink);
      } else {
        merge_word(word, symbols);
        emit(word, at, symbols, unknown, cached, sink);
      }
      at = end;
    }
    unknown.flush(*this, sink);
  }

  // A run of characters that are no piece and have no bytes: one unknown token when it ends.
  struct Unknown {
    uint64_t begin = 0;
    uint64_t end = 0;
    void flush(const SpmTokenizer& tokenizer, TokenSink& sink) {
      if (end > begin) {
        sink.add(*tokenizer.vocabulary_.special().unk, begin, end);
      }
      begin = end = 0;
    }
  };

  void emit_cached(const std::vector<int32_t>& ids, uint64_t at, TokenSink& sink) const {
    for (const int32_t id : ids) {
      const uint64_t end = at + (byte_of(id) ? 1 : vocabulary_.piece(id).size());
      sink.add(id, at, end);
      at = end;
    }
  }

  void emit(std::string_view word, uint64_t at, const std::vector<Symbol>& symbols,
            Unknown& unknown, std::vector<int32_t>& ids, TokenSink& sink) const {
    bool is_spelled = true;
    for (const Symbol& symbol : symbols) {
      if (symbol.id < 0 && byte_ids_[0] < 0) {
        is_spelled = false;
        if (unknown.end != at + symbol.begin || !fuses_unknown_) {
          unknown.flush(*this, sink);
          unknown.begin = at + symbol.begin;
        }
        unknown.end = at + symbol.end;
        continue;
      }
      unknown.flush(*this, sink);
      if (symbol.id >= 0) {
        sink.add(symbol.id, at + symbol.begin, at + symbol.end);
        ids.push_back(symbol.id);
        continue;
      }
      for (uint32_t i = symbol.begin; i < symbol.end; ++i) {
        ids.push_back(byte_ids_[static_cast<uint8_t>(word[i])]);
        sink.add(ids.back(), at + i, at + i + 1);
      }
    }
    if (is_spelled) {
      cache_.put(word, ids.data(), ids.size());
    }
  }

  void merge_word(std::string_view word, std::vector<Symbol>& symbols) const {
    symbols.clear();
    for (uint32_t at = 0; at < word.size();) {
      const uint32_t end = at + decode_utf8(word, at).length;
      symbols.push_back({piece_of(word.substr(at, end - at)), at, end});
      at = end;
    }
    if (rank_of_.empty()) {
      merge_symbols(symbols, [this](const Symbol& left, const Symbol& right) {
        return merges_.find(left.id, right.id);
      });
      return;
    }
    merge_symbols(symbols, [this, word](const Symbol& left, const Symbol& right) -> Merge {
      if (right.end - left.begin > longest_) {
        return {};
      }
      const int32_t id = piece_of(word.substr(left.begin, right.end - left.begin));
      return id < 0 ? Merge{} : Merge{id, rank_of_[static_cast<size_t>(id)]};
    });
  }

  int32_t piece_of(std::string_view piece) const {
    const auto id = vocabulary_.find(piece);
    return id && is_mergeable(vocabulary_.type(*id)) ? *id : -1;
  }

  Vocabulary vocabulary_;
  SpacePrefix prefix_;
  bool keeps_first_space_;
  bool cuts_at_every_space_;
  bool fuses_unknown_;
  bool cuts_words_ = true;
  size_t longest_ = 0;             // bytes of the longest piece
  std::vector<uint32_t> rank_of_;  // by id; empty where merges decide
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};  // all -1 where one is missing
  AddedTokens added_;
  mutable WordCache cache_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_spm_tokenizer(SpmSpec spec) {
  return std::make_unique<SpmTokenizer>(std::move(spec));
}

}  // namespace offbook::text
