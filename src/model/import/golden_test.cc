// The two default models, read from the directory that OFFBOOK_MODELS names, against values that
// tools/golden/import_golden.py prints.
#include <cstdlib>

#include "src/model/import/fingerprint.h"
#include "src/model/import/test_files.h"
#include "src/model/import/tokenizer_source.h"
#include "src/model/import/weights.h"

namespace offbook::model {
namespace {

class ImportGolden : public testing::Test {
 protected:
  void SetUp() override {
    const char* models = std::getenv("OFFBOOK_MODELS");
    ASSERT_NE(models, nullptr) << "OFFBOOK_MODELS must name the directory of the default models";
    decoder_ = std::filesystem::path(models) / "smollm2-135m-instruct";
    encoder_ = std::filesystem::path(models) / "all-minilm-l6-v2";
  }
  static std::string hex(const std::byte* bytes) {
    std::string out;
    for (int i = 0; i < 8; ++i) {
      out += fmt::format("{:02x}", static_cast<unsigned>(bytes[i]));
    }
    return out;
  }
  FileSystem& fs_ = real_file_system();
  std::filesystem::path decoder_, encoder_;
};

TEST_F(ImportGolden, DecoderConfiguration) {
  const ModelConfig c = open_model(fs_, decoder_).config;
  EXPECT_EQ(c.architecture, Architecture::llama);
  EXPECT_EQ(c.vocab_size, 49'152);
  EXPECT_EQ(c.hidden, 576);
  EXPECT_EQ(c.layers, 30);
  EXPECT_EQ(c.heads, 9);
  EXPECT_EQ(c.kv_heads, 3);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.ffn, 1'536);
  EXPECT_EQ(c.max_positions, 8'192);
  EXPECT_EQ(c.rope_theta, 100'000);
  EXPECT_EQ(c.rms_eps, 1e-5f);
  EXPECT_TRUE(c.has_tied_embeddings);
}

TEST_F(ImportGolden, DecoderWeights) {
  const LlamaWeights w = load_llama_weights(open_model(fs_, decoder_));
  ASSERT_EQ(w.layers.size(), 30u);
  EXPECT_EQ(to_string(w.layers[7].q), "q4_1 [576, 576]");
  EXPECT_EQ(hex(w.layers[7].q.row_raw(33)), "6b2c60b7f5955747");
  EXPECT_EQ(hex(w.layers[7].q.row_raw(100)), "622b88b587b44838");
  EXPECT_EQ(hex(w.layers[7].q.row_raw(575)), "ab25a0b17872ab87");
  EXPECT_THAT(std::vector<float>(w.layers[29].ffn_norm.data<float>(),
                                 w.layers[29].ffn_norm.data<float>() + 3),
              testing::ElementsAre(0.326171875f, 0.3125f, 0.333984375f));
  EXPECT_EQ(to_string(w.embedding), "q8_0 [49152, 576]");
  EXPECT_EQ(hex(w.embedding.row_raw(49'151)), "e41d020111ef0ff8");
}

TEST_F(ImportGolden, DecoderTokenizer) {
  const auto files = open_model(fs_, decoder_);
  const TokenizerSource source = tokenizer_source_of_gguf(*files.gguf);
  EXPECT_EQ(source.vocabulary.pre, "smollm");
  EXPECT_EQ(source.vocabulary.tokens.size(), 49'152u);
  EXPECT_EQ(source.vocabulary.merges.size(), 48'900u);
  EXPECT_EQ(source.vocabulary.eos, 2);
  EXPECT_EQ(source.vocabulary.add_bos, false);
  EXPECT_TRUE(source.chat_template.starts_with("{% for message in messages %}"));
  EXPECT_EQ(load_tokenizer(fs_, files).tokenizer->vocab_size(), 49'152);
}

TEST_F(ImportGolden, EncoderConfigurationAndWeights) {
  const EncoderConfig c = read_encoder_config(fs_, encoder_);
  EXPECT_EQ(c.layers, 6);
  EXPECT_EQ(c.heads, 12);
  EXPECT_EQ(c.max_positions, 512);
  EXPECT_EQ(c.max_tokens, 256);
  EXPECT_TRUE(c.is_normalized);
  const BertWeights w = load_bert_weights(*SafetensorsModel::open(fs_, encoder_), c);
  EXPECT_EQ(w.word_embedding.data<float>()[2000 * 384], -0.02535427361726761f);
  EXPECT_EQ(w.layers.at(5).down_bias.data<float>()[1], -0.013268805108964443f);
}

TEST_F(ImportGolden, FingerprintsAreStable) {
  const Fingerprint decoder = model_fingerprint(fs_, open_model(fs_, decoder_));
  EXPECT_EQ(decoder.model, "d4e213e39a7f4e553ea823a22ffd9151");
  EXPECT_EQ(decoder.family, "58cccf5eb8922671930dbd8ecce10ba6");
  EXPECT_EQ(encoder_fingerprint(fs_, encoder_).model, "d724ad13818e006072cf68dc6835bc31");
}

}  // namespace
}  // namespace offbook::model
