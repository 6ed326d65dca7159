// The published program's filters, run in Python on a language model's attention rows, keep the
// same words (tools/golden/quito.py).
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/compress/quito/words.h"

namespace offbook::compress {
namespace {

std::vector<nlohmann::json> rows() {
  std::ifstream in("tests/golden/quito.jsonl");
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) {
    out.push_back(nlohmann::json::parse(line));
  }
  return out;
}

QuitoFilterOptions options_of(const std::string& name) {
  const size_t first = name.find('/');
  const size_t last = name.rfind('/');
  const std::string filter = name.substr(first + 1, last - first - 1);
  return {.filter = filter == "phrase"     ? QuitoFilter::phrase
                    : filter == "sentence" ? QuitoFilter::sentence
                                           : QuitoFilter::dynamic_sentence,
          .rules = name.substr(0, first) == "paper" ? QuitoRules::paper : QuitoRules::head,
          .ratio = std::stod(name.substr(last + 1))};
}

TEST(Golden, TheSameWordsAreKept) {
  const std::vector<nlohmann::json> all = rows();
  ASSERT_GE(all.size(), 20u);
  for (const auto& row : all) {
    const auto text = row["text"].get<std::string>();
    std::vector<ByteSpan> spans;
    uint64_t at = 0;
    for (const auto& length : row["lengths"]) {
      spans.push_back({at, at + length.get<uint64_t>()});
      at = spans.back().end;
    }
    ASSERT_EQ(at, text.size());
    auto weights = row["row"].get<std::vector<double>>();
    softmax(weights);
    const std::vector<Word> words = merge_words(text, spans, weights);
    const auto ends = row["sentence_ends"].get<std::vector<int32_t>>();
    for (const auto& [name, want] : row["kept"].items()) {
      EXPECT_EQ(keep_words(words, ends, options_of(name)), want.get<std::vector<int32_t>>())
          << name << ": " << text;
    }
  }
}

}  // namespace
}  // namespace offbook::compress
