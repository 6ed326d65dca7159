#include "src/compress/selective_context/selective_context.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "src/base/file_system_memory.h"
#include "src/compress/testing/tiny_model.h"
#include "src/text/unicode.h"

namespace offbook::compress {
namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

// One sentence, cut into tokens and values.
std::vector<ScoredSentence> sentence_of(const std::vector<std::pair<std::string, double>>& tokens) {
  ScoredSentence out;
  uint64_t at = 0;
  for (const auto& [text, value] : tokens) {
    out.tokens.push_back({{at, at + text.size()}, value});
    at += text.size();
  }
  out.span = {0, at};
  return {out};
}

std::vector<double> values(const std::vector<Unit>& units) {
  std::vector<double> out;
  for (const Unit& unit : units) {
    out.push_back(unit.information);
  }
  return out;
}

TEST(Collapse, KeepsTheWayBack) {
  const std::string source = "a \t\n b\u00a0\u2003c";
  const CollapsedText c = collapse_white_space(source);
  EXPECT_EQ(c.text, "a b c");
  EXPECT_EQ(c.source_span({2, 3}), (ByteSpan{5, 6}));
  EXPECT_EQ(c.source_span({0, 5}), (ByteSpan{0, source.size()}));
  EXPECT_EQ(collapse_white_space("").source.size(), 1u);
}

TEST(Units, MeanSumAndTokensOverBoundaries) {
  // "ab" "cd|e" "f" " " "g": the third token runs over the end of the first unit only.
  const auto s = sentence_of({{"ab", 1}, {"cde", 4}, {"f", 8}, {" ", 100}, {"g", 2}});
  const std::vector<ByteSpan> phrases{{0, 4}, {4, 6}, {7, 8}};
  EXPECT_EQ(values(make_units("abcdef g", s, phrases, {UnitLevel::phrase, UnitValue::sum})),
            (std::vector<double>{5, 8, 2}));
  EXPECT_EQ(values(make_units("abcdef g", s, phrases, {UnitLevel::phrase, UnitValue::mean})),
            (std::vector<double>{2.5, 8, 2}));
  EXPECT_EQ(values(make_units("abcdef g", s, {}, {UnitLevel::sentence, UnitValue::mean})),
            (std::vector<double>{23}));
}

TEST(Units, ATokenOverTwoEndsIsSharedAndAUnitWithoutTokensIsKept) {
  const auto s = sentence_of({{"abcd", 6}, {"e", 1}});
  const std::vector<ByteSpan> phrases{{0, 1}, {1, 3}, {3, 5}};
  const auto units = make_units("abcde", s, phrases, {UnitLevel::phrase, UnitValue::sum});
  EXPECT_EQ(values(units), (std::vector<double>{3, 3, 1}));
  EXPECT_EQ(keep_by_percentile(std::vector<Unit>{{{0, 1}, kNan}, {{1, 2}, 1}, {{2, 3}, 2}}, 1),
            (std::vector<bool>{true, false, true}));
}

TEST(Units, OfOneTextCoverIt) {
  const std::string text = "Big cats sleep. Do dogs? They do.";
  std::vector<ScoredSentence> sentences;
  for (const ByteSpan& span : reference_sentences(text)) {
    ScoredSentence s{.span = span};
    for (uint64_t i = span.begin; i < span.end; ++i) {
      s.tokens.push_back({{i, i + 1}, static_cast<double>(i % 5)});
    }
    sentences.push_back(s);
  }
  for (const UnitLevel level : {UnitLevel::token, UnitLevel::phrase, UnitLevel::sentence}) {
    const auto units =
        make_units(text, sentences, approximate_phrases(text), {level, UnitValue::mean});
    EXPECT_EQ(join_units(text, units, std::vector<bool>(units.size(), true)).text, text);
    EXPECT_EQ(keep_by_percentile(units, 0), std::vector<bool>(units.size(), true));
    const std::vector<double> all = values(units);
    const double largest = *std::max_element(all.begin(), all.end());
    const std::vector<bool> top = keep_by_percentile(units, 1);
    for (size_t i = 0; i < units.size(); ++i) {
      EXPECT_EQ(top[i], units[i].information == largest);
    }
  }
}

TEST(Percentile, IsLinear) {
  const std::vector<double> v{4, 1, kNan, 3, 2};
  EXPECT_EQ(percentile(v, 0), 1);
  EXPECT_EQ(percentile(v, 50), 2.5);
  EXPECT_EQ(percentile(v, 100), 4);
  EXPECT_TRUE(std::isnan(percentile({}, 50)));
  EXPECT_THROW(keep_by_percentile({}, 1.5), Error);
}

TEST(TokenBudget, IsNeverExceededAndTakesTheMostInformative) {
  const std::string text = "aa bb cc dd";
  const std::vector<Unit> units{{{0, 2}, 1}, {{2, 5}, 4}, {{5, 8}, 3}, {{8, 11}, kNan}};
  const TokenCount words = [](std::string_view t) {
    return t.empty() ? 0 : 1 + std::count(t.begin(), t.end(), ' ');
  };
  EXPECT_EQ(join_units(text, units, keep_by_tokens(text, units, 2, words)).text, "bb dd");
  EXPECT_EQ(join_units(text, units, keep_by_tokens(text, units, 0, words)).text, "");
  EXPECT_EQ(join_units(text, units, keep_by_tokens(text, units, 9, words)).text, text);
}

TEST(Join, LeavesOutPartsOfCharacters) {
  const std::string text = "é ok";  // é is two bytes
  const std::vector<Unit> units{{{0, 1}, 1}, {{1, 2}, 1}, {{2, 5}, 1}};
  const KeptUnits kept = join_units(text, units, {true, false, true});
  EXPECT_EQ(kept.text, "ok");
  EXPECT_EQ(kept.spans, (std::vector<ByteSpan>{{3, 5}}));
}

TEST(Phrases, ByRules) {
  const std::string text = "The old sea captain quickly saw a whale, and he told the crew.";
  std::vector<std::string> phrases;
  for (const ByteSpan& span : approximate_phrases(text)) {
    phrases.push_back(text.substr(span.begin, span.end - span.begin));
  }
  EXPECT_EQ(phrases, (std::vector<std::string>{"The old sea captain", "quickly", "saw", "a whale",
                                               ",", "and", "he", "told", "the crew", "."}));
}

TEST(Phrases, FromAFileNameWhatIsWrong) {
  MemoryFileSystem fs;
  const auto put = [&](const std::string& content) {
    const auto file = fs.create("p.jsonl");
    file->append(std::as_bytes(std::span(content)));
  };
  const auto message = [&](const std::string& content) -> std::string {
    put(content);
    try {
      PhraseFile::read(fs, "p.jsonl");
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  put("{\"id\": \"a\", \"phrases\": [[0, 1], [2, 4]]}\n");
  const PhraseFile file = PhraseFile::read(fs, "p.jsonl");
  EXPECT_EQ(file.phrases("a", "é bcd"), (std::vector<ByteSpan>{{0, 2}, {3, 5}}));
  EXPECT_THROW(file.phrases("b", ""), Error);
  EXPECT_THROW(file.phrases("a", "é"), Error);
  EXPECT_NE(message("\n{\"id\": \"a\", \"phrases\": [[3, 1]]}").find("p.jsonl:2"),
            std::string::npos);
  EXPECT_NE(message("{\"id\": \"a\"}").find("phrases"), std::string::npos);
  EXPECT_NE(message("{\"id\": \"a\", \"phrases\": [[0]]}").find("[begin, end]"), std::string::npos);
}

class Surprisals : public ::testing::Test {
 protected:
  std::vector<ScoredSentence> score(const std::string& text, const SurprisalOptions& options) {
    return score_sentences(tiny_.ctx, tiny_.llama, *tiny_.tokenizer, text,
                           reference_sentences(text), options);
  }

  testing::TinyModel tiny_{"gpt2.json"};
};

TEST_F(Surprisals, AreThoseOfThePlainLogits) {
  const std::string text = "Class sizes fell. Why? The minister of the day said no more.";
  const auto scored = score(text, {.start_token = 0});
  ASSERT_EQ(scored.size(), 3u);
  for (const ScoredSentence& sentence : scored) {
    const std::string_view part =
        std::string_view(text).substr(sentence.span.begin, sentence.span.end - sentence.span.begin);
    std::vector<int32_t> ids = tiny_.tokenizer->encode(part, {.add_special = false}).ids;
    ids.insert(ids.begin(), 0);
    const auto n = static_cast<int32_t>(ids.size());
    std::vector<int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    const model::PackedSequence one{.length = n};
    model::PackedAttention path(tiny_.ctx, tiny_.llama.config(), tiny_.llama.inv_freq(),
                                {.sequences = std::span(&one, 1), .positions = positions});
    const model::Graph g{tiny_.ctx};
    const Tensor logits = tiny_.llama.logits(
        tiny_.ctx,
        tiny_.llama.run(g, tiny_.llama.embed(g, model::make_ints(tiny_.ctx, ids, {n}), Dtype::f32),
                        path, {}));
    ASSERT_EQ(sentence.tokens.size(), ids.size() - 1);
    for (int32_t i = 0; i + 1 < n; ++i) {
      const float* row = logits.data<float>() + i * logits.dim(1);
      double sum = 0;
      for (int64_t v = 0; v < logits.dim(1); ++v) {
        sum += std::exp(static_cast<double>(row[v]));
      }
      EXPECT_NEAR(sentence.tokens[static_cast<size_t>(i)].surprisal,
                  std::log(sum) - row[ids[static_cast<size_t>(i) + 1]], 1e-4);
    }
  }
}

TEST_F(Surprisals, DoNotDependOnHowSentencesArePacked) {
  const std::string text =
      "One is short. Two is a little longer than one. Three? The fourth one ends the text.";
  const auto together = score(text, {.start_token = 0});
  const auto alone = score(text, {.start_token = 0, .rows_per_pass = 16});
  ASSERT_EQ(together.size(), alone.size());
  for (size_t s = 0; s < alone.size(); ++s) {
    for (size_t t = 0; t < alone[s].tokens.size(); ++t) {
      EXPECT_NEAR(together[s].tokens[t].surprisal, alone[s].tokens[t].surprisal, 1e-4);
    }
  }
}

TEST_F(Surprisals, SentencesLongerThanTheWindowAreReadInPieces) {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "more words ";
  }
  const auto scored = score(text, {.start_token = 0, .window = 32});
  ASSERT_EQ(scored.size(), 1u);
  const auto whole = score(text, {.start_token = 0, .window = 400});
  ASSERT_EQ(scored[0].tokens.size(), whole[0].tokens.size());
  for (size_t i = 0; i < 31; ++i) {
    EXPECT_NEAR(scored[0].tokens[i].surprisal, whole[0].tokens[i].surprisal, 1e-4);
  }
  for (const ScoredToken& token : scored[0].tokens) {
    EXPECT_GT(token.surprisal, 0);
  }
  EXPECT_THROW(score(text, {.window = 2}), Error);
}

TEST_F(Surprisals, SelectingKeepsWithinTheBudgetAndNamesTheSource) {
  const std::string text =
      "The  committee met.\nIt said that café prices rose, and nobody knew why.";
  const ScoredText scored =
      score_text(tiny_.ctx, {tiny_.llama, *tiny_.tokenizer}, text, {.start_token = 0});
  const TokenCount count = [&](std::string_view t) {
    return static_cast<int64_t>(tiny_.tokenizer->encode(t, {.add_special = false}).ids.size());
  };
  for (const UnitLevel level : {UnitLevel::token, UnitLevel::phrase, UnitLevel::sentence}) {
    for (const int64_t budget : {0, 5, 12, 1000}) {
      const SelectedText out =
          select_text(scored, {}, count, {.units = {.level = level}, .token_budget = budget});
      EXPECT_LE(out.tokens_after, budget);
      EXPECT_EQ(text::find_invalid_utf8(out.text), std::string::npos);
      for (const ByteSpan& span : out.spans) {
        EXPECT_LE(span.end, text.size());
      }
    }
  }
  EXPECT_THROW(select_text(scored, {}, count, {}), Error);
  const ScoredText empty =
      score_text(tiny_.ctx, {tiny_.llama, *tiny_.tokenizer}, "", {.start_token = 0});
  EXPECT_EQ(select_text(empty, {}, count, {.unit_ratio = 0.5}).text, "");
}

}  // namespace
}  // namespace offbook::compress
