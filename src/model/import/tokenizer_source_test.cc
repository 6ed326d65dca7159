#include "src/model/import/tokenizer_source.h"

#include "src/model/import/tiny_model.h"

namespace offbook::model {
namespace {

TokenizerSource of(const std::function<void(GgufWriter&)>& fill) {
  GgufWriter out;
  fill(out);
  return tokenizer_source_of_gguf(*parse_gguf(out.bytes()));
}

TEST(TokenizerSource, FieldsOfTheFile) {
  const TokenizerSource source = of(TinyModel::set_tokenizer);
  const text::GgufVocabulary& v = source.vocabulary;
  EXPECT_EQ(v.model, "gpt2");
  EXPECT_EQ(v.pre, "smollm");
  EXPECT_EQ(v.tokens.at(3), "ab");
  EXPECT_EQ(v.token_types.at(0), 3);
  EXPECT_THAT(v.merges, testing::ElementsAre("a b", "ab c"));
  EXPECT_EQ(v.bos, 0);
  EXPECT_FALSE(v.eos.has_value());
  EXPECT_EQ(v.add_bos, true);
  EXPECT_EQ(source.chat_template, "{% for m in messages %}");
}

TEST(TokenizerSource, ContradictionsAreNamed) {
  expect_error(ErrorCode::Corrupt, "metadata tokenizer.ggml.model is missing",
               [] { of([](GgufWriter&) {}); });
  expect_error(ErrorCode::Corrupt, "tokens is missing or empty",
               [] { of([](GgufWriter& w) { w.set_string("tokenizer.ggml.model", "gpt2"); }); });
  expect_error(ErrorCode::Corrupt, "metadata tokenizer.ggml.scores: 1 entries for 6 tokens", [] {
    of([](GgufWriter& w) {
      TinyModel::set_tokenizer(w);
      w.set_f32s("tokenizer.ggml.scores", std::vector<float>{1});
    });
  });
  expect_error(ErrorCode::Corrupt, "6 tokens, but the embedding has 5 rows", [] {
    of([](GgufWriter& w) {
      TinyModel::set_tokenizer(w);
      w.add_tensor("token_embd.weight", counting_tensor({5, 8}));
    });
  });
  expect_error(ErrorCode::Corrupt, "eos_token_id", [] {
    of([](GgufWriter& w) {
      TinyModel::set_tokenizer(w);
      w.set_i32("tokenizer.ggml.eos_token_id", -1);
    });
  });
}

}  // namespace
}  // namespace offbook::model
