#include "src/text/tokenizer_json_parts.h"

#include <algorithm>

#include "src/base/error.h"

namespace offbook::text {
namespace {

constexpr size_t kMostComponents = 64;
constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁ U+2581

void unfold(const JsonFields& fields, const std::string& children, std::vector<Component>& out) {
  const std::string type = fields.get_string("type");
  if (type != "Sequence") {
    OB_REQUIRE(out.size() < kMostComponents, Corrupt, "{}: more than {} components", fields.where(),
               kMostComponents);
    out.push_back({type, fields});
    return;
  }
  const nlohmann::json* list = fields.find(children);
  OB_REQUIRE(list != nullptr && list->is_array(), Corrupt, "{}: field {}: wanted a list",
             fields.where(), children);
  for (const nlohmann::json& child : *list) {
    unfold(JsonFields(child, fields.where()), children, out);
  }
}

// {"String": "x"} or {"Regex": "x"} of a pattern field.
std::string read_pattern(const Component& component, const std::string& kind) {
  const auto pattern = component.fields.find_object("pattern");
  const auto text = pattern ? pattern->find_string(kind) : std::nullopt;
  if (!text) {
    refuse(component, fmt::format("its pattern is not a {}", kind));
  }
  return *text;
}

bool flag(const Component& component, const std::string& key, bool otherwise) {
  return component.fields.find_bool(key).value_or(otherwise);
}

PreTokenizerKind kind_of_split(const Component& split) {
  const std::string regex = read_pattern(split, "Regex");
  if (split.fields.find_string("behavior") != "Isolated" || flag(split, "invert", false)) {
    refuse(split, "only behavior Isolated without invert is known");
  }
  const auto kind = pre_tokenizer_of_regex(regex);
  if (!kind) {
    refuse(split, fmt::format("its expression is not one of GPT-2, Llama 3 or Qwen2: {}",
                              printable(regex)));
  }
  return *kind;
}

AddedToken read_added_token(const JsonFields& fields, int64_t most_ids) {
  AddedToken token{.content = fields.get_string("content"),
                   .id = static_cast<int32_t>(fields.get_int("id", 0, most_ids - 1)),
                   .is_special = fields.find_bool("special").value_or(false),
                   .is_normalized = fields.find_bool("normalized").value_or(false),
                   .takes_left_space = fields.find_bool("lstrip").value_or(false),
                   .takes_right_space = fields.find_bool("rstrip").value_or(false),
                   .is_single_word = fields.find_bool("single_word").value_or(false)};
  return token;
}

void place(JsonVocabulary& vocabulary, int64_t id, const std::string& piece, TokenType type) {
  const auto at = static_cast<size_t>(id);
  if (at >= vocabulary.pieces.size()) {
    vocabulary.pieces.resize(at + 1);
    vocabulary.types.resize(at + 1, TokenType::unused);
  }
  OB_REQUIRE(vocabulary.pieces[at].empty() || vocabulary.pieces[at] == piece, Corrupt,
             "tokenizer.json: id {} is both \"{}\" and \"{}\"", id,
             printable(vocabulary.pieces[at]), printable(piece));
  vocabulary.pieces[at] = piece;
  vocabulary.types[at] = type;
}

std::optional<std::string> single_token(const Component& component, const std::string& key) {
  const nlohmann::json* pair = component.fields.find(key);
  if (pair == nullptr || !pair->is_array() || pair->empty() || !(*pair)[0].is_string()) {
    refuse(component, fmt::format("its {} is not a token and an id", key));
  }
  return (*pair)[0].get<std::string>();
}

// A template's "single": at most one special token on either side of the text.
Frame read_template(const Component& component) {
  const nlohmann::json* single = component.fields.find("single");
  if (single == nullptr || !single->is_array()) {
    refuse(component, "it has no template for one text");
  }
  Frame frame;
  bool seen_text = false;
  for (const nlohmann::json& item : *single) {
    const JsonFields fields(item, component.fields.where());
    const auto token = fields.find_object("SpecialToken");
    auto& side = seen_text ? frame.after : frame.before;
    if ((!token && (seen_text || !fields.has("Sequence"))) || (token && side)) {
      refuse(component, "only one token before and one behind the text are known");
    }
    if (token) {
      side = token->get_string("id");
    } else {
      seen_text = true;
    }
  }
  return frame;
}

void read_metaspace(const Component& component, SpmSpec& spec) {
  if (component.fields.find_string("replacement") != kSpace) {
    refuse(component, "its replacement is not ▁");
  }
  const bool old_prefix = flag(component, "add_prefix_space", true);
  const std::string scheme =
      component.fields.find_string("prepend_scheme").value_or(old_prefix ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    refuse(component, fmt::format("prepend_scheme {}", printable(scheme)));
  }
  spec.prefix = scheme == "always"  ? SpacePrefix::section
                : scheme == "first" ? SpacePrefix::start
                                    : SpacePrefix::never;
  spec.keeps_first_space = true;
  spec.cuts_at_every_space = flag(component, "split", true);
}

}  // namespace

void refuse(const Component& component, std::string_view why) {
  OB_THROW(Unsupported, "{}: {}: {}", component.fields.where(), printable(component.type), why);
}

std::vector<Component> read_components(const JsonFields& file, const std::string& key,
                                       const std::string& children) {
  std::vector<Component> components;
  if (const auto fields = file.find_object(key)) {
    unfold(*fields, children, components);
  }
  return components;
}

JsonVocabulary read_vocabulary(const JsonFields& file, const JsonFields& model) {
  const nlohmann::json* vocab = model.find("vocab");
  OB_REQUIRE(vocab != nullptr && vocab->is_object(), Corrupt, "{}: field vocab: wanted an object",
             model.where());
  const nlohmann::json* added = file.find("added_tokens");
  OB_REQUIRE(added == nullptr || added->is_array(), Corrupt,
             "{}: field added_tokens: wanted a list", file.where());
  // Real vocabularies are dense but for a few reserved ids; this bounds what a hostile id can cost.
  const auto entries = vocab->size() + (added == nullptr ? 0 : added->size());
  const auto most_ids = static_cast<int64_t>(2 * entries + 1024);
  JsonVocabulary out;
  for (const auto& [piece, id] : vocab->items()) {
    OB_REQUIRE(id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(most_ids),
               Corrupt, "{}: the id of \"{}\" is {}, wanted a number below {}", model.where(),
               printable(piece), printable(id.dump()), most_ids);
    place(out, id.get<int64_t>(), piece, TokenType::normal);
  }
  if (added != nullptr) {
    for (const nlohmann::json& item : *added) {
      AddedToken token =
          read_added_token(JsonFields(item, file.where() + ": added_tokens"), most_ids);
      place(out, token.id, token.content,
            token.is_special ? TokenType::control : TokenType::user_defined);
      out.added.push_back(std::move(token));
    }
  }
  return out;
}

std::vector<std::array<std::string, 2>> read_merges(const JsonFields& model) {
  const nlohmann::json* list = model.find("merges");
  OB_REQUIRE(list != nullptr && list->is_array(), Corrupt, "{}: field merges: wanted a list",
             model.where());
  std::vector<std::array<std::string, 2>> merges;
  merges.reserve(list->size());
  for (const nlohmann::json& item : *list) {
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.push_back({item[0].get<std::string>(), item[1].get<std::string>()});
      continue;
    }
    const std::string text = item.is_string() ? item.get<std::string>() : std::string();
    const size_t space = text.find(' ');
    OB_REQUIRE(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
               Corrupt, "{}: merge {}: wanted two pieces with a space between, came \"{}\"",
               model.where(), merges.size(), printable(text));
    merges.push_back({text.substr(0, space), text.substr(space + 1)});
  }
  return merges;
}

std::optional<PreTokenizerKind> read_byte_level(const JsonFields& file) {
  const auto parts = read_components(file, "pre_tokenizer", "pretokenizers");
  if (parts.empty() || parts.back().type != "ByteLevel") {
    return std::nullopt;
  }
  const Component& byte_level = parts.back();
  const bool uses_regex = flag(byte_level, "use_regex", true);
  if (flag(byte_level, "add_prefix_space", true)) {
    refuse(byte_level, "add_prefix_space true");
  }
  if (parts.size() > 2) {
    refuse(parts[1], "more than one component before ByteLevel");
  }
  if (parts.size() == 1) {
    if (!uses_regex) {
      refuse(byte_level, "use_regex false without a Split before it");
    }
    return PreTokenizerKind::gpt2;
  }
  const Component& first = parts[0];
  if (first.type == "Digits" && flag(first, "individual_digits", false) && uses_regex) {
    return PreTokenizerKind::smollm;
  }
  if (first.type != "Split" || uses_regex) {
    refuse(first,
           "before ByteLevel only Split (without use_regex) or Digits (individual) is known");
  }
  return kind_of_split(first);
}

std::optional<NormalForm> read_normal_form(const JsonFields& file) {
  static constexpr std::array<std::pair<std::string_view, NormalForm>, 4> kForms{
      {{"NFC", NormalForm::nfc},
       {"NFD", NormalForm::nfd},
       {"NFKC", NormalForm::nfkc},
       {"NFKD", NormalForm::nfkd}}};
  const auto parts = read_components(file, "normalizer", "normalizers");
  if (parts.empty()) {
    return std::nullopt;
  }
  const auto found = std::find_if(kForms.begin(), kForms.end(),
                                  [&](const auto& form) { return form.first == parts[0].type; });
  if (found == kForms.end() || parts.size() > 1) {
    refuse(parts.back(), "byte-level BPE takes one of NFC, NFD, NFKC, NFKD as normaliser");
  }
  return found->second;
}

void read_space_spelling(const JsonFields& file, SpmSpec& spec) {
  const auto normalizers = read_components(file, "normalizer", "normalizers");
  const auto cutters = read_components(file, "pre_tokenizer", "pretokenizers");
  spec.prefix = SpacePrefix::never;
  bool replaces_spaces = false;
  for (const Component& part : normalizers) {
    if (part.type == "Prepend" && part.fields.find_string("prepend") == kSpace &&
        !replaces_spaces) {
      spec.prefix = SpacePrefix::section;
    } else if (part.type == "Replace" && read_pattern(part, "String") == " " &&
               part.fields.find_string("content") == kSpace) {
      replaces_spaces = true;
    } else {
      refuse(part, "BPE without ByteLevel takes Prepend ▁ and Replace \" \" by ▁ as normaliser");
    }
  }
  for (const Component& part : cutters) {
    if (part.type != "Metaspace" || !normalizers.empty() || replaces_spaces) {
      refuse(part, "BPE without ByteLevel takes one Metaspace, or none, as pre-tokeniser");
    }
    read_metaspace(part, spec);
    replaces_spaces = true;
  }
  OB_REQUIRE(replaces_spaces, Unsupported,
             "{}: BPE with neither a ByteLevel or Metaspace pre-tokeniser nor a normaliser that "
             "replaces spaces",
             file.where());
}

void read_bert(const JsonFields& file, WordPieceSpec& spec) {
  spec.cleans_text = spec.spaces_ideographs = spec.strips_accents = spec.lowers_case = false;
  for (const Component& part : read_components(file, "normalizer", "normalizers")) {
    if (part.type != "BertNormalizer") {
      refuse(part, "WordPiece takes BertNormalizer as normaliser");
    }
    spec.cleans_text = flag(part, "clean_text", true);
    spec.spaces_ideographs = flag(part, "handle_chinese_chars", true);
    spec.lowers_case = flag(part, "lowercase", true);
    spec.strips_accents = flag(part, "strip_accents", spec.lowers_case);
  }
  const auto cutters = read_components(file, "pre_tokenizer", "pretokenizers");
  OB_REQUIRE(cutters.size() == 1, Unsupported,
             "{}: WordPiece takes BertPreTokenizer as pre-tokeniser, came {} components",
             file.where(), cutters.size());
  if (cutters[0].type != "BertPreTokenizer") {
    refuse(cutters[0], "WordPiece takes BertPreTokenizer as pre-tokeniser");
  }
}

Frame read_frame(const JsonFields& file) {
  Frame frame;
  for (const Component& part : read_components(file, "post_processor", "processors")) {
    if (part.type == "TemplateProcessing") {
      frame = read_template(part);
    } else if (part.type == "BertProcessing") {
      frame = {single_token(part, "cls"), single_token(part, "sep")};
    } else if (part.type != "ByteLevel") {
      refuse(part, "the post-processor is not known");
    }
  }
  return frame;
}

void check_decoder(const JsonFields& file, std::initializer_list<std::string_view> known) {
  for (const Component& part : read_components(file, "decoder", "decoders")) {
    if (std::find(known.begin(), known.end(), part.type) == known.end()) {
      refuse(part, "the decoder does not fit the model");
    }
  }
}

}  // namespace offbook::text
