#include "src/text/tokenizer_json.h"

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/file_system.h"
#include "src/text/gguf_vocabulary.h"
#include "src/text/tokenizer_files.h"

namespace offbook::text {
namespace {

using nlohmann::json;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::unique_ptr<Tokenizer> read(const json& file, const TokenizerConfig& config = {}) {
  const std::string text = file.dump();
  return read_tokenizer_json(bytes_of(text), "t/tokenizer.json", config);
}

json byte_level() {
  return json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<e>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

// What it says when it refuses; empty when it does not.
std::string refusal(const json& file, ErrorCode wanted) {
  try {
    read(file);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), wanted) << e.what();
    return e.what();
  }
  return "";
}

TEST(TokenizerJson, ReadsASmallOne) {
  const auto tokenizer = read(byte_level());
  EXPECT_EQ(tokenizer->encode("abb<e>", {.parse_special = true}).ids,
            (std::vector<int32_t>{2, 1, 3}));
  EXPECT_EQ(tokenizer->vocabulary().type(3), TokenType::control);
}

TEST(TokenizerJson, ConfigNamesSpecialTokens) {
  const auto tokenizer = read(byte_level(), {.bos = "<e>", .eos = "b", .add_bos = true});
  EXPECT_EQ(tokenizer->special().bos, 3);
  EXPECT_EQ(tokenizer->encode("a", {}).ids, (std::vector<int32_t>{3, 0}));
  EXPECT_THROW(read(byte_level(), {.eos = "</s>"}), Error);
}

struct Change {
  const char* path;
  const char* value;
  const char* named;  // must stand in the message
};

class Unknown : public testing::TestWithParam<Change> {};
TEST_P(Unknown, ComponentIsNamed) {
  json file = byte_level();
  file[json::json_pointer(GetParam().path)] = json::parse(GetParam().value);
  const std::string message = refusal(file, ErrorCode::Unsupported);
  EXPECT_NE(message.find(GetParam().named), std::string::npos) << message;
  EXPECT_NE(message.find("t/tokenizer.json"), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(
    All, Unknown,
    testing::Values(Change{"/model/type", R"("Unigram")", "Unigram"},
                    Change{"/model/dropout", "0.1", "dropout"},
                    Change{"/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
                    Change{"/normalizer", R"({"type": "Lowercase"})", "Lowercase"},
                    Change{"/pre_tokenizer", R"({"type": "Whitespace"})", "Whitespace"},
                    Change{"/pre_tokenizer/add_prefix_space", "true", "add_prefix_space"},
                    Change{"/pre_tokenizer",
                           R"({"type": "Sequence", "pretokenizers": [
                   {"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated"},
                   {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
                           "\\w+"},
                    Change{"/post_processor", R"({"type": "RobertaProcessing"})",
                           "RobertaProcessing"},
                    Change{"/decoder", R"({"type": "CTC"})", "CTC"}));

class Broken : public testing::TestWithParam<Change> {};
TEST_P(Broken, FieldIsNamed) {
  json file = byte_level();
  file[json::json_pointer(GetParam().path)] = json::parse(GetParam().value);
  const std::string message = refusal(file, ErrorCode::Corrupt);
  EXPECT_NE(message.find(GetParam().named), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(
    All, Broken,
    testing::Values(
        Change{"/model", "[]", "model"}, Change{"/model/vocab", "[]", "vocab"},
        Change{"/model/vocab/a", "-1", "\"a\""}, Change{"/model/vocab/a", "4000000000", "\"a\""},
        Change{"/model/vocab/a", "\"x\"", "\"a\""}, Change{"/model/vocab/a", "1", "id 1"},
        Change{"/model/merges", R"(["a b c"])", "merge 0"},
        Change{"/model/merges", R"([["a", "c"]])", "merge 0"},
        Change{"/model/merges", "[7]", "merge 0"}, Change{"/model/merges", "{}", "merges"},
        Change{"/added_tokens", "{}", "added_tokens"}, Change{"/added_tokens/0/id", "1e9", "id"},
        Change{"/added_tokens/0/id", "0", "id 0"},
        Change{"/added_tokens/0/content", "7", "content"},
        Change{"/pre_tokenizer", R"("ByteLevel")", "pre_tokenizer"}));

TEST(TokenizerJson, TextThatIsNotJsonIsCorrupt) {
  for (const std::string text : {"", "{", "[]", "\xff\xfe", "{\"model\": {\"vocab\": {}}"}) {
    EXPECT_THROW(read_tokenizer_json(bytes_of(text), "x", {}), Error);
  }
}

TEST(TokenizerConfig, ReadsSpellingsOfBothKinds) {
  const std::string text = R"({"bos_token": {"content": "<s>"}, "sep_token": "[SEP]",
      "add_bos_token": true, "chat_template": [{"name": "tools", "template": "x"},
      {"name": "default", "template": "y"}]})";
  const TokenizerConfig config = read_tokenizer_config(bytes_of(text), "c");
  EXPECT_EQ(config.bos, "<s>");
  EXPECT_EQ(config.eos, "[SEP]");
  EXPECT_EQ(config.add_bos, true);
  EXPECT_EQ(config.chat_template, "y");
  const std::string wrong = R"({"bos_token": 7})";
  EXPECT_THROW(read_tokenizer_config(bytes_of(wrong), "c"), Error);
}

TEST(TokenizerFiles, EmptyDirectoryNamesBothFiles) {
  const std::filesystem::path directory = testing::TempDir() + "no_tokenizer";
  real_file_system().create_directories(directory);
  try {
    load_tokenizer(real_file_system(), directory);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::NotFound);
    EXPECT_NE(std::string(e.what()).find("tokenizer.model"), std::string::npos);
  }
}

TEST(GgufVocabulary, ContradictionsAndUnknownKinds) {
  const auto code_of = [](GgufVocabulary v) {
    try {
      make_gguf_tokenizer(std::move(v));
    } catch (const Error& e) {
      return std::optional(e.code());
    }
    return std::optional<ErrorCode>();
  };
  const GgufVocabulary good{.model = "gpt2",
                            .pre = "smollm",
                            .tokens = {"a", "b", "ab"},
                            .token_types = {1, 1, 1},
                            .merges = {"a b"}};
  EXPECT_EQ(code_of(good), std::nullopt);
  const auto changed = [&](auto change) {
    GgufVocabulary v = good;
    change(v);
    return code_of(std::move(v));
  };
  EXPECT_EQ(changed([](auto& v) { v.model = "rwkv"; }), ErrorCode::Unsupported);
  EXPECT_EQ(changed([](auto& v) { v.pre = "tekken"; }), ErrorCode::Unsupported);
  EXPECT_EQ(changed([](auto& v) { v.tokens.clear(); }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.token_types = {1}; }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.token_types = {1, 1, 9}; }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.merges = {"ab"}; }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.merges = {"a c"}; }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.bos = 3; }), ErrorCode::Corrupt);
  EXPECT_EQ(changed([](auto& v) { v.model = "llama"; }), ErrorCode::Corrupt);  // no scores
}

}  // namespace
}  // namespace offbook::text
