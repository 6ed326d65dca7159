// The small tokenisers of tests/golden/tokenizers against what the reference libraries gave.
#include "tests/golden/tokenizer_pairs.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "src/base/file_system.h"
#include "src/text/gguf_vocabulary.h"
#include "src/text/sentence_piece.h"
#include "src/text/tokenizer_json.h"

namespace offbook::text {
namespace {

const std::filesystem::path kFixtures = "tests/golden/tokenizers";

std::unique_ptr<Tokenizer> open_json(const std::string& name) {
  const auto path = kFixtures / (name + ".json");
  return read_tokenizer_json(real_file_system().open(path)->bytes(), path.string());
}

std::unique_ptr<Tokenizer> open_model(const std::string& name) {
  const auto file = real_file_system().open(kFixtures / (name + ".model"));
  return make_sentence_piece_tokenizer(
      {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
}

// The pieces of another tokeniser the way a GGUF file holds them.
GgufVocabulary as_gguf(const Tokenizer& tokenizer, const std::string& model) {
  GgufVocabulary out{.model = model};
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    out.tokens.push_back(vocabulary.piece(id));
    out.token_types.push_back(static_cast<int32_t>(vocabulary.type(id)));
  }
  out.bos = vocabulary.special().bos;
  out.eos = vocabulary.special().eos;
  out.unk = vocabulary.special().unk;
  return out;
}

// SentencePiece gives piece i of a BPE model the score -(i - first normal piece).
std::unique_ptr<Tokenizer> scored_twin_of(const Tokenizer& model) {
  GgufVocabulary v = as_gguf(model, "llama");
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    v.scores.push_back(-static_cast<float>(i));
  }
  return make_gguf_tokenizer(std::move(v));
}

void expect_equal(const Tokenizer& tokenizer, const std::string& name) {
  const auto pairs = golden::read_tokenizer_pairs(kFixtures / "pairs.jsonl");
  ASSERT_GT(pairs.size(), 60u);
  for (int round = 0; round < 2; ++round) {  // the second from the word cache
    for (const auto& pair : pairs) {
      EXPECT_EQ(golden::compare(tokenizer, name, pair), "");
    }
  }
}

class GoldenJson : public testing::TestWithParam<const char*> {};
TEST_P(GoldenJson, EqualsReference) {
  expect_equal(*open_json(GetParam()), GetParam());
}
INSTANTIATE_TEST_SUITE_P(All, GoldenJson,
                         testing::Values("llama3", "qwen2", "smollm", "gpt2", "wordpiece",
                                         "llama2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenModel, SentencePieceBpe) {
  expect_equal(*open_model("sp_bpe"), "sp_bpe");
}

// Cuts of equal score ("--" "-" or "-" "--") are broken differently by different versions of the
// library, so that the same pieces may come in another order.
TEST(GoldenModel, SentencePieceUnigram) {
  const auto tokenizer = open_model("sp_unigram");
  for (const auto& pair : golden::read_tokenizer_pairs(kFixtures / "pairs.jsonl")) {
    auto wanted = pair.ids.at("sp_unigram").front();
    auto got = tokenizer->encode(pair.line, {}).ids;
    std::sort(wanted.begin(), wanted.end());
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, wanted) << pair.line;
  }
}

TEST(GoldenGguf, ScoresGiveWhatSentencePieceGives) {
  expect_equal(*scored_twin_of(*open_model("sp_bpe")), "sp_bpe");
}

}  // namespace
}  // namespace offbook::text
