#include "src/text/tokenizer.h"

#include <limits>
#include <utility>

#include "src/base/error.h"
#include "src/text/unicode.h"

namespace offbook::text {
namespace {

void require_id(std::optional<int32_t> id, size_t size, std::string_view name) {
  OB_REQUIRE(!id || (*id >= 0 && static_cast<size_t>(*id) < size), Corrupt,
             "vocabulary: {} token is id {}, but there are {} tokens", name, *id, size);
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::string> pieces, std::vector<TokenType> types,
                       SpecialIds special)
    : pieces_(std::move(pieces)), types_(std::move(types)), special_(special) {
  const size_t size = pieces_.size();
  OB_REQUIRE(size <= static_cast<size_t>(std::numeric_limits<int32_t>::max()), Corrupt,
             "vocabulary: {} tokens do not fit 31-bit ids", size);
  if (types_.empty()) {
    types_.assign(size, TokenType::normal);
  }
  OB_REQUIRE(types_.size() == size, Corrupt, "vocabulary: {} tokens but {} token types", size,
             types_.size());
  require_id(special_.bos, size, "bos");
  require_id(special_.eos, size, "eos");
  require_id(special_.unk, size, "unk");
  require_id(special_.pad, size, "pad");
  ids_.reserve(size);
  for (size_t i = 0; i < size; ++i) {
    OB_REQUIRE(types_[i] >= TokenType::normal && types_[i] <= TokenType::byte, Corrupt,
               "vocabulary: token {} has type {}, wanted 1…6", i, static_cast<int>(types_[i]));
    if (!pieces_[i].empty()) {
      ids_[pieces_[i]] = static_cast<int32_t>(i);
    }
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? std::nullopt : std::optional<int32_t>(found->second);
}

size_t Vocabulary::checked(int32_t id) const {
  OB_REQUIRE(id >= 0 && id < size(), InvalidArgument,
             "token id {} is outside the vocabulary [0, {})", id, size());
  return static_cast<size_t>(id);
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(tokenizer), options_(options), drops_space_(tokenizer.begins_with_space()) {}

std::string StreamDecoder::push(int32_t id) {
  const Vocabulary& vocabulary = tokenizer_.vocabulary();
  if (vocabulary.type(id) == TokenType::control) {
    return options_.show_control ? finish() + vocabulary.piece(id) : std::string();
  }
  tokenizer_.append_bytes(id, pending_);
  if (drops_space_ && !pending_.empty()) {
    drops_space_ = false;
    if (pending_.front() == ' ') {
      pending_.erase(0, 1);
    }
  }
  const size_t certain = complete_utf8_prefix(pending_);
  std::string out = to_valid_utf8(std::string_view(pending_).substr(0, certain));
  pending_.erase(0, certain);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = to_valid_utf8(pending_);
  pending_.clear();
  drops_space_ = tokenizer_.begins_with_space();
  return out;
}

std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                   DecodeOptions options) {
  StreamDecoder decoder(tokenizer, options);
  std::string out;
  for (const int32_t id : ids) {
    out += decoder.push(id);
  }
  return out + decoder.finish();
}

}  // namespace offbook::text
