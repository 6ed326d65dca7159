// Attention rows and surprisals of the default model against Hugging Face transformers
// (tools/golden/quito.py, tools/golden/selective_context.py). Needs OFFBOOK_MODELS.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/compress/quito/attention_row.h"
#include "src/compress/selective_context/selective_context.h"
#include "src/model/language_model.h"

namespace offbook::compress {
namespace {

std::vector<nlohmann::json> rows(const std::string& path) {
  std::ifstream in(path);
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) {
    out.push_back(nlohmann::json::parse(line));
  }
  return out;
}

class SmolLm2 : public ::testing::Test {
 protected:
  static std::filesystem::path path() {
    const char* value = std::getenv("OFFBOOK_MODELS");
    OB_REQUIRE(value != nullptr, InvalidArgument, "OFFBOOK_MODELS names the model directory");
    return std::filesystem::path(value) / "smollm2-135m-instruct";
  }

  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  backend::ExecutionContext ctx_{
      .backend = backend::best_cpu_backend(), .pool = &pool_, .arena = &arena_};
  model::LanguageModel model_{
      real_file_system(), path(), pool_, {.backend = backend::best_cpu_backend()}};
};

TEST_F(SmolLm2, AttentionRowsEqualTransformers) {
  double worst = 0;
  for (const auto& row : rows("tests/golden/quito.jsonl")) {
    const auto want = row["row"].get<std::vector<double>>();
    const auto begin = row["begin"].get<size_t>();
    const RowPrompt prompt{
        .ids = row["ids"].get<std::vector<int32_t>>(), .begin = begin, .end = begin + want.size()};
    const auto got = attention_rows(ctx_, model_.llama(), std::span(&prompt, 1), {}).front();
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      worst = std::max(worst, std::abs(got[i] - want[i]));
    }
  }
  EXPECT_LE(worst, 1e-5);
}

TEST_F(SmolLm2, SurprisalsEqualTransformers) {
  double sum = 0;
  int64_t count = 0;
  for (const auto& row : rows("tests/golden/selective_context.jsonl")) {
    const ScoredText scored =
        score_text(ctx_, {model_.llama(), model_.tokenizer()}, row["text"].get<std::string>(), {});
    for (size_t s = 0; s < scored.sentences.size(); ++s) {
      const auto want = row["surprisals"][s].get<std::vector<double>>();
      ASSERT_EQ(scored.sentences[s].tokens.size(), want.size()) << row["text"];
      for (size_t t = 0; t < want.size(); ++t) {
        sum += std::abs(scored.sentences[s].tokens[t].surprisal - want[t]);
        ++count;
      }
    }
  }
  EXPECT_LE(sum / static_cast<double>(count), 1e-4);
}

}  // namespace
}  // namespace offbook::compress
