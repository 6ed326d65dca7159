// The tokenisers of the two default models against the reference libraries. OFFBOOK_MODELS names
// the folder that holds both; without it the test fails.
#include "tests/golden/tokenizer_pairs.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "src/base/file_system.h"
#include "src/model/import/tokenizer_source.h"
#include "src/text/chat_template.h"
#include "src/text/tokenizer_files.h"

namespace offbook {
namespace {

std::filesystem::path models() {
  const char* directory = std::getenv("OFFBOOK_MODELS");
  if (directory == nullptr) {
    throw std::runtime_error("OFFBOOK_MODELS is not set");
  }
  return directory;
}

void expect_equal(const text::Tokenizer& tokenizer, const std::string& name) {
  for (const auto& pair : golden::read_tokenizer_pairs("tests/golden/tokenizers/pairs.jsonl")) {
    EXPECT_EQ(golden::compare(tokenizer, name, pair), "");
  }
}

TEST(ModelTokenizers, SmolLm2) {
  const auto file = model::GgufFile::open(
      real_file_system(), models() / "smollm2-135m-instruct" / "SmolLM2-135M-Instruct.Q4_1.gguf");
  auto source = model::tokenizer_source_of_gguf(*file);
  EXPECT_EQ(text::chat_format_of_template(source.chat_template), text::ChatFormat::smollm2);
  expect_equal(*text::make_gguf_tokenizer(std::move(source.vocabulary)), "smollm2");
}

TEST(ModelTokenizers, MiniLm) {
  const auto loaded = text::load_tokenizer(real_file_system(), models() / "all-minilm-l6-v2");
  expect_equal(*loaded.tokenizer, "minilm");
  EXPECT_EQ(loaded.tokenizer->special().bos, loaded.tokenizer->vocabulary().find("[CLS]"));
}

}  // namespace
}  // namespace offbook
