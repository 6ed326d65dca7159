#include "src/metrics/choice.h"

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

const std::vector<std::string> kOptions = {"red fox", "blue whale", "green parrot",
                                           "none of these"};

std::optional<size_t> extract(ChoiceRule rule, std::string_view prediction) {
  return extract_choice(rule, prediction, kOptions);
}

TEST(Choice, PapersReadTheSameAnswerDifferently) {
  EXPECT_EQ(extract(ChoiceRule::first_letter, "B."), 1u);
  EXPECT_EQ(extract(ChoiceRule::first_letter, " B"), std::nullopt);
  EXPECT_EQ(extract(ChoiceRule::leval, "the answer is C"), 2u);
  EXPECT_EQ(extract(ChoiceRule::leval, "Because of D"), 1u);  // the capital of "Because"
  EXPECT_EQ(extract(ChoiceRule::leval, "AB"), std::nullopt);
  EXPECT_EQ(extract(ChoiceRule::leval, "BA"), 1u);
  EXPECT_EQ(extract(ChoiceRule::bamboo, "\n c) x"), 2u);
  EXPECT_EQ(extract(ChoiceRule::bamboo, "(c)"), std::nullopt);
  EXPECT_EQ(extract(ChoiceRule::bamboo, ""), std::nullopt);
}

TEST(Choice, LenientFindsALetterThatStandsAlone) {
  const std::pair<const char*, size_t> cases[] = {{"B", 1},
                                                  {"(b)", 1},
                                                  {"**C.** green parrot", 2},
                                                  {"The answer is D", 3},
                                                  {"Answer: A", 0},
                                                  {"A. red fox", 0},
                                                  {"I saw A fox. Answer is (C).", 2},
                                                  {"option b.", 1},
                                                  {"It is the blue whale.", 1},
                                                  {"A blue whale swims", 1}};
  for (const auto& [prediction, index] : cases) {
    EXPECT_EQ(extract(ChoiceRule::lenient, prediction), index) << prediction;
  }
  EXPECT_EQ(extract(ChoiceRule::lenient, "a red fox or a blue whale"), std::nullopt);
  EXPECT_EQ(extract(ChoiceRule::lenient, "E"), std::nullopt);
  EXPECT_EQ(extract(ChoiceRule::lenient, ""), std::nullopt);
}

TEST(Choice, ScoresAndRefusesBadLabels) {
  EXPECT_EQ(choice_score(ChoiceRule::first_letter, "D", kOptions, 3), 1);
  EXPECT_EQ(choice_score(ChoiceRule::first_letter, "", kOptions, 3), 0);
  EXPECT_THROW(choice_score(ChoiceRule::lenient, "A", kOptions, 4), Error);
  EXPECT_EQ(choice_rule(to_string(ChoiceRule::bamboo)), ChoiceRule::bamboo);
  EXPECT_THROW(choice_rule("best"), Error);
}

TEST(Choice, AltqaIgnoresCaseAndFullStops) {
  EXPECT_EQ(altqa_score(" 1984. ", "1984"), 1);
  EXPECT_EQ(altqa_score("in 1984", "1984"), 0);
}

}  // namespace
}  // namespace offbook::metrics
