// The reference's rules, run in Python on a language model's surprisals, keep the same units
// (tools/golden/selective_context.py).
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/compress/selective_context/select.h"
#include "src/text/unicode.h"

namespace offbook::compress {
namespace {

std::vector<nlohmann::json> rows() {
  std::ifstream in("tests/golden/selective_context.jsonl");
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) {
    out.push_back(nlohmann::json::parse(line));
  }
  return out;
}

struct Case {
  std::string collapsed;
  std::vector<ScoredSentence> sentences;
  std::vector<ByteSpan> phrases;
};

Case case_of(const nlohmann::json& row) {
  Case out{.collapsed = collapse_white_space(row["text"].get<std::string>()).text};
  const std::vector<ByteSpan> spans = reference_sentences(out.collapsed);
  for (size_t s = 0; s < spans.size(); ++s) {
    ScoredSentence sentence{.span = spans[s]};
    uint64_t at = spans[s].begin;
    for (size_t t = 0; t < row["lengths"][s].size(); ++t) {
      const uint64_t end = at + row["lengths"][s][t].get<uint64_t>();
      sentence.tokens.push_back({{at, end}, row["surprisals"][s][t].get<double>()});
      at = end;
    }
    EXPECT_EQ(at, spans[s].end);
    const std::string text = out.collapsed.substr(spans[s].begin, spans[s].end - spans[s].begin);
    std::vector<uint64_t> starts;
    for (size_t i = 0; i < text.size(); i += text::decode_utf8(text, i).length) {
      starts.push_back(spans[s].begin + i);
    }
    starts.push_back(spans[s].end);
    for (const auto& chunk : row["chunks"][s]) {
      out.phrases.push_back({starts[chunk[0].get<size_t>()], starts[chunk[1].get<size_t>()]});
    }
    out.sentences.push_back(std::move(sentence));
  }
  return out;
}

std::string bits(const std::vector<bool>& keep) {
  std::string out;
  for (const bool k : keep) {
    out.push_back(k ? '1' : '0');
  }
  return out;
}

TEST(Golden, SentencesAreThoseOfTheRegularExpression) {
  for (const auto& row : rows()) {
    const std::string collapsed = collapse_white_space(row["text"].get<std::string>()).text;
    EXPECT_EQ(collapsed, row["collapsed"].get<std::string>());
    std::vector<std::string> sentences;
    for (const ByteSpan& span : reference_sentences(collapsed)) {
      sentences.push_back(collapsed.substr(span.begin, span.end - span.begin));
    }
    EXPECT_EQ(sentences, row["sentences"].get<std::vector<std::string>>());
  }
}

TEST(Golden, TheSameUnitsAreKept) {
  const std::vector<nlohmann::json> all = rows();
  ASSERT_GE(all.size(), 20u);
  for (const auto& row : all) {
    const Case c = case_of(row);
    for (const auto& [name, want] : row["kept"].items()) {
      const size_t slash = name.find('/');
      const size_t last = name.rfind('/');
      const std::string level = name.substr(0, slash);
      const UnitOptions options{.level = level == "token"    ? UnitLevel::token
                                         : level == "phrase" ? UnitLevel::phrase
                                                             : UnitLevel::sentence,
                                .value = name.substr(slash + 1, last - slash - 1) == "mean"
                                             ? UnitValue::mean
                                             : UnitValue::sum};
      const auto units = make_units(c.collapsed, c.sentences, c.phrases, options);
      EXPECT_EQ(bits(keep_by_percentile(units, std::stod(name.substr(last + 1)))),
                want.get<std::string>())
          << name << ": " << row["text"];
    }
  }
}

}  // namespace
}  // namespace offbook::compress
