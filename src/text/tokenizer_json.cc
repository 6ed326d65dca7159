#include "src/text/tokenizer_json.h"

#include <utility>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/text/bpe.h"
#include "src/text/spm.h"
#include "src/text/tokenizer_json_parts.h"
#include "src/text/word_piece.h"

namespace offbook::text {
namespace {

constexpr uint64_t kLargestFile = uint64_t{64} << 20;

// A token's spelling: "x", or {"content": "x", …}.
std::optional<std::string> read_spelling(const JsonFields& config, const std::string& key) {
  const nlohmann::json* value = config.find(key);
  if (value != nullptr && value->is_object()) {
    return JsonFields(*value, config.where() + ": field " + key).get_string("content");
  }
  return config.find_string(key);
}

// One template, or a list of {"name", "template"}.
std::string read_chat_template(const JsonFields& config) {
  const nlohmann::json* value = config.find("chat_template");
  if (value == nullptr || !value->is_array()) {
    return config.find_string("chat_template").value_or("");
  }
  for (const nlohmann::json& item : *value) {
    const JsonFields fields(item, config.where() + ": field chat_template");
    if (fields.get_string("name") == "default") {
      return fields.get_string("template");
    }
  }
  return "";
}

// Spellings → ids, once it is known where they come from.
class SpecialFinder {
 public:
  SpecialFinder(const JsonVocabulary& vocabulary, std::string where) : where_(std::move(where)) {
    for (size_t i = 0; i < vocabulary.pieces.size(); ++i) {
      ids_.emplace(vocabulary.pieces[i], static_cast<int32_t>(i));
    }
  }
  std::optional<int32_t> find(const std::optional<std::string>& piece,
                              std::string_view role) const {
    if (!piece) {
      return std::nullopt;
    }
    const auto found = ids_.find(*piece);
    OB_REQUIRE(found != ids_.end() && !piece->empty(), Corrupt,
               "{}: the {} token \"{}\" is not in the vocabulary", where_, role, printable(*piece));
    return found->second;
  }

 private:
  std::string where_;
  std::unordered_map<std::string, int32_t> ids_;
};

template <class T>
std::optional<T> first_of(const std::optional<T>& a, const std::optional<T>& b) {
  return a ? a : b;
}

SpecialIds find_special(const JsonFields& file, const JsonFields& model,
                        const JsonVocabulary& vocabulary, const TokenizerConfig& config) {
  const Frame frame = read_frame(file);
  const SpecialFinder ids(vocabulary, file.where());
  SpecialIds special;
  special.bos = ids.find(first_of(frame.before, config.bos), "bos");
  special.eos = ids.find(first_of(frame.after, config.eos), "eos");
  special.unk = ids.find(first_of(model.find_string("unk_token"), config.unk), "unk");
  special.pad = ids.find(config.pad, "pad");
  special.add_bos = frame.before || (config.add_bos.value_or(false) && special.bos);
  special.add_eos = frame.after || (config.add_eos.value_or(false) && special.eos);
  return special;
}

// Options of the BPE model that would change ids and that no known family uses.
void refuse_unknown_bpe(const JsonFields& model) {
  const auto is_set = [&](const char* key) {
    const nlohmann::json* value = model.find(key);
    return value != nullptr &&
           !(value->is_string() && value->get_ref<const std::string&>().empty());
  };
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    OB_REQUIRE(!is_set(key), Unsupported, "{}: BPE with {}", model.where(), key);
  }
}

struct Parts {
  const JsonFields& file;
  const JsonFields& model;
  JsonVocabulary vocabulary;
  SpecialIds special;
};

std::unique_ptr<Tokenizer> make_byte_level(Parts parts, PreTokenizerKind kind) {
  check_decoder(parts.file, {"ByteLevel"});
  return make_bpe_tokenizer(
      {.pieces = std::move(parts.vocabulary.pieces),
       .types = std::move(parts.vocabulary.types),
       .merges = read_merges(parts.model),
       .added = std::move(parts.vocabulary.added),
       .special = parts.special,
       .pre_tokenizer = kind,
       .normal_form = read_normal_form(parts.file),
       .takes_whole_words = parts.model.find_bool("ignore_merges").value_or(false)});
}

std::unique_ptr<Tokenizer> make_spaced(Parts parts) {
  OB_REQUIRE(!parts.model.find_bool("ignore_merges").value_or(false), Unsupported,
             "{}: BPE with ignore_merges but without ByteLevel", parts.model.where());
  SpmSpec spec{.merges = read_merges(parts.model), .special = parts.special};
  spec.falls_back_to_bytes = parts.model.find_bool("byte_fallback").value_or(false);
  spec.fuses_unknown = parts.model.find_bool("fuse_unk").value_or(false);
  read_space_spelling(parts.file, spec);
  check_decoder(parts.file, {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"});
  spec.pieces = std::move(parts.vocabulary.pieces);
  spec.types = std::move(parts.vocabulary.types);
  spec.added = std::move(parts.vocabulary.added);
  return make_spm_tokenizer(std::move(spec));
}

std::unique_ptr<Tokenizer> make_bpe(Parts parts) {
  refuse_unknown_bpe(parts.model);
  if (const auto kind = read_byte_level(parts.file)) {
    return make_byte_level(std::move(parts), *kind);
  }
  return make_spaced(std::move(parts));
}

std::unique_ptr<Tokenizer> make_word_piece(Parts parts) {
  check_decoder(parts.file, {"WordPiece"});
  WordPieceSpec spec{.pieces = std::move(parts.vocabulary.pieces),
                     .types = std::move(parts.vocabulary.types),
                     .added = std::move(parts.vocabulary.added),
                     .special = parts.special};
  spec.continuing_prefix = parts.model.find_string("continuing_subword_prefix").value_or("##");
  spec.longest_word = static_cast<size_t>(
      parts.model.find_int("max_input_chars_per_word", 1, 10'000).value_or(100));
  read_bert(parts.file, spec);
  return make_word_piece_tokenizer(std::move(spec));
}

}  // namespace

TokenizerConfig read_tokenizer_config(std::span<const std::byte> json, const std::string& where) {
  const nlohmann::json value = parse_json(json, where, kLargestFile);
  const JsonFields config(value, where);
  TokenizerConfig out{.bos = read_spelling(config, "bos_token"),
                      .eos = read_spelling(config, "eos_token"),
                      .unk = read_spelling(config, "unk_token"),
                      .pad = read_spelling(config, "pad_token"),
                      .add_bos = config.find_bool("add_bos_token"),
                      .add_eos = config.find_bool("add_eos_token"),
                      .chat_template = read_chat_template(config)};
  // BERT's names for the same places.
  out.bos = first_of(out.bos, read_spelling(config, "cls_token"));
  out.eos = first_of(out.eos, read_spelling(config, "sep_token"));
  return out;
}

std::unique_ptr<Tokenizer> read_tokenizer_json(std::span<const std::byte> json,
                                               const std::string& where,
                                               const TokenizerConfig& config) {
  const nlohmann::json value = parse_json(json, where, kLargestFile);
  const JsonFields file(value, where);
  const auto model = file.find_object("model");
  OB_REQUIRE(model, Corrupt, "{}: field model is missing", where);
  const std::string type =
      model->find_string("type").value_or(model->has("merges") ? "BPE" : "(without a type)");
  OB_REQUIRE(type == "BPE" || type == "WordPiece", Unsupported,
             "{}: model {} is not one of BPE, WordPiece{}", where, printable(type),
             type == "Unigram" ? "; put tokenizer.model beside it" : "");
  Parts parts{file, *model, read_vocabulary(file, *model), {}};
  parts.special = find_special(file, *model, parts.vocabulary, config);
  return type == "BPE" ? make_bpe(std::move(parts)) : make_word_piece(std::move(parts));
}

}  // namespace offbook::text
