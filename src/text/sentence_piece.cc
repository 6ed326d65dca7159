#include "src/text/sentence_piece.h"

#include <utility>

#include <sentencepiece_processor.h>

#include "src/base/error.h"
#include "src/text/sections.h"

namespace offbook::text {
namespace {

namespace sp = ::sentencepiece;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁ U+2581

TokenType type_of(const sp::SentencePieceProcessor& processor, int id) {
  return processor.IsUnknown(id)   ? TokenType::unknown
         : processor.IsControl(id) ? TokenType::control
         : processor.IsByte(id)    ? TokenType::byte
         : processor.IsUnused(id)  ? TokenType::unused
                                   : TokenType::normal;
}

std::optional<int32_t> known(int id) {
  return id >= 0 ? std::optional<int32_t>(id) : std::nullopt;
}

Vocabulary vocabulary_of(const sp::SentencePieceProcessor& processor,
                         SentencePieceOptions options) {
  std::vector<std::string> pieces;
  std::vector<TokenType> types;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    pieces.push_back(processor.IdToPiece(id));
    types.push_back(type_of(processor, id));
  }
  const SpecialIds special{.bos = known(processor.bos_id()),
                           .eos = known(processor.eos_id()),
                           .unk = known(processor.unk_id()),
                           .pad = known(processor.pad_id()),
                           .add_bos = options.add_bos,
                           .add_eos = options.add_eos};
  return {std::move(pieces), std::move(types), special};
}

AddedTokens control_tokens_of(const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    if (type == TokenType::control || type == TokenType::unknown) {
      tokens.push_back({.content = vocabulary.piece(id), .id = id, .is_special = true});
    }
  }
  return AddedTokens(std::move(tokens));
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view model, SentencePieceOptions options) {
    const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
    OB_REQUIRE(status.ok(), Corrupt, "SentencePiece model of {} bytes: {}", model.size(),
               status.ToString());
    vocabulary_ = vocabulary_of(processor_, options);
    added_ = control_tokens_of(vocabulary_);
    const std::vector<int> first = encode_ids("a");
    has_prefix_ = !first.empty() && processor_.IdToPiece(first[0]).starts_with(kSpace);
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    return encode_sections(
        text, options, vocabulary_.special(), added_,
        [this](const SectionText& section, TokenSink& sink) { encode_section(section, sink); });
  }

  void append_bytes(int32_t id, std::string& out) const override {
    switch (vocabulary_.type(id)) {
      case TokenType::control:
        return;
      case TokenType::byte:
        out.push_back(
            static_cast<char>(std::stoi(vocabulary_.piece(id).substr(3, 2), nullptr, 16)));
        return;
      default:
        break;
    }
    std::string_view piece = vocabulary_.piece(id);
    for (size_t at; (at = piece.find(kSpace)) != std::string_view::npos;) {
      out.append(piece.substr(0, at)).push_back(' ');
      piece.remove_prefix(at + kSpace.size());
    }
    out += piece;
  }

  bool begins_with_space() const noexcept override { return has_prefix_; }
  const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  std::vector<int> encode_ids(std::string_view text) const {
    std::vector<int> ids;
    const auto status = processor_.Encode({text.data(), text.size()}, &ids);
    OB_REQUIRE(status.ok(), Corrupt, "SentencePiece: {}", status.ToString());
    return ids;
  }

  void encode_section(const SectionText& section, TokenSink& sink) const {
    sp::ImmutableSentencePieceText pieces;
    const auto status =
        processor_.Encode({section.text.data(), section.text.size()}, pieces.mutable_proto());
    OB_REQUIRE(status.ok(), InvalidArgument, "SentencePiece: {}", status.ToString());
    for (const auto& piece : pieces.pieces()) {
      sink.add(static_cast<int32_t>(piece.id()), piece.begin(), piece.end());
    }
  }

  sp::SentencePieceProcessor processor_;
  Vocabulary vocabulary_;
  AddedTokens added_;
  bool has_prefix_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentence_piece_tokenizer(std::string_view model,
                                                         SentencePieceOptions options) {
  return std::make_unique<SentencePieceTokenizer>(model, options);
}

}  // namespace offbook::text
