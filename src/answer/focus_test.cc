#include "src/answer/focus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/store/store_testing.h"
#include "src/text/bpe.h"

namespace offbook::answer {
namespace {

// Every byte is a token.
std::unique_ptr<text::Tokenizer> byte_tokenizer() {
  text::BpeSpec spec;
  for (int byte = 0; byte < 256; ++byte) {
    text::append_utf8(spec.pieces.emplace_back(), text::byte_to_letter(static_cast<uint8_t>(byte)));
    spec.types.push_back(text::TokenType::normal);
  }
  return make_bpe_tokenizer(std::move(spec));
}

class FocusTest : public testing::Test {
 protected:
  FocusTest() {
    const int64_t generation = corpus_.generations().begin(nlohmann::json::object());
    const std::vector<std::string> lines{"aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"};
    passages_ =
        corpus_.documents().passages(store::put_document(corpus_, generation, "doc", lines));
  }
  std::vector<FocusText> focus_of(const std::vector<size_t>& order, const FocusOptions& options) {
    std::vector<retrieve::RankedPassage> ranked;
    for (const size_t i : order) {
      ranked.push_back({.passage = passages_[i], .path = "doc.txt"});
    }
    return focus(corpus_, ranked, *tokenizer_, options);
  }

  store::TemporaryDirectory directory_;
  store::Corpus corpus_ = store::Corpus::create(directory_.path() / "corpus", {});
  std::unique_ptr<text::Tokenizer> tokenizer_ = byte_tokenizer();
  std::vector<Passage> passages_;
};

TEST_F(FocusTest, BestFirstUnderTheBudget) {
  const auto texts = focus_of({3, 1, 0}, {.budget_tokens = 20});
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[0].text, "dddddddddd");
  EXPECT_EQ(texts[1].text, "bbbbbbbbbb");
  EXPECT_EQ(texts[0].tokens, 10);
}

TEST_F(FocusTest, NeighboursAreJoinedInDocumentOrder) {
  const auto texts = focus_of({2, 0, 1}, {.budget_tokens = 100});
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].text, "aaaaaaaaaa\nbbbbbbbbbb\ncccccccccc");
  EXPECT_EQ(texts[0].passages.size(), 3u);
  EXPECT_EQ(texts[0].rank, 0);
}

TEST_F(FocusTest, APassageThatDoesNotFitIsPassedOver) {
  const auto texts = focus_of({0, 1}, {.budget_tokens = 15});
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].text, "aaaaaaaaaa");
  EXPECT_TRUE(focus_of({0}, {.budget_tokens = 5}).empty());
}

TEST_F(FocusTest, AtMostSoManyPassages) {
  EXPECT_EQ(focus_of({0, 2, 3}, {.budget_tokens = 100, .max_passages = 1}).size(), 1u);
}

}  // namespace
}  // namespace offbook::answer
