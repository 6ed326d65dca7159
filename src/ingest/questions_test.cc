// Rules that make questions and checks that refuse them: no model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/ingest/question_checks.h"
#include "src/ingest/rule_questions.h"

namespace offbook::ingest {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> asked(std::string_view passage) {
  std::vector<std::string> out;
  for (const Candidate& c : rule_questions(passage)) {
    out.push_back(c.rule + ": " + c.question + " → " + c.answer);
  }
  return out;
}

TEST(RuleQuestions, AskWhatTheSentenceSays) {
  EXPECT_THAT(asked("The school was opened by Mary Smith in March 1998."),
              testing::IsSupersetOf(
                  {"who: By whom was the school opened? → Mary Smith",
                   "when: When was the school opened by Mary Smith? → March 1998",
                   "cloze: Which words are missing at ____ in: The school was opened by Mary Smith "
                   "in ____. → March 1998"}));
  EXPECT_THAT(asked("Professor Adams was born in Leeds and lived there."),
              testing::Contains("where: Where was Professor Adams born? → Leeds"));
  EXPECT_THAT(
      asked("The committee has 12 members from all parties."),
      testing::Contains("how many: How many members from does the committee have? → 12").Times(0));
  EXPECT_THAT(asked("The committee has 12 members from all parties."),
              testing::Contains("how many: How many members does the committee have? → 12"));
  EXPECT_THAT(
      asked("There were 30 pupils in the class of Ms Jones."),
      testing::Contains("how many: How many pupils were there in the class of Ms Jones? → 30"));
  EXPECT_THAT(asked("Mary Smith wrote the first report, which was long."),
              testing::Contains("who: Who wrote the first report? → Mary Smith"));
  EXPECT_THAT(asked("Leeds is a large city in the north."),
              testing::Contains("what is: What is Leeds? → a large city in the north").Times(0));
  EXPECT_THAT(asked("The Senedd is the parliament of Wales in Cardiff."),
              testing::Contains(HasSubstr("What is the Senedd? → the parliament of Wales")));
  EXPECT_THAT(asked("it was a cold day and they went home early."), IsEmpty());
}

TEST(RuleQuestions, EveryAnswerStandsInThePassage) {
  const std::string passage =
      "In 1912 Captain Scott reached the pole. \xE2\x80\x9CGreat God, this is an awful "
      "place\xE2\x80\x9D, he "
      "wrote. The Fram was built by Colin Archer in Larvik, and it carried 39 men and 97 dogs.";
  const auto found = rule_questions(passage);
  EXPECT_GE(found.size(), 2u);
  for (const Candidate& c : found) {
    EXPECT_NE(passage.find(c.answer), std::string::npos) << c.question;
    EXPECT_EQ(fault_of(c, passage), "") << c.question << " → " << c.answer;
  }
}

TEST(RuleQuestions, OddTextIsNoTrouble) {
  for (const std::string text : {"", " \n\n ", "\"", "\xE2\x80\x9C", "... ... ...", "A\xC3",
                                 "5 5 5 5 5 5", "Mr Mr Mr Mr Mr Mr of of of Of"}) {
    rule_questions(text);
  }
}

TEST(QuestionChecks, NameTheFault) {
  const std::string passage = "The board met in May to speak of class sizes.";
  const auto fault = [&](const std::string& question, const std::string& answer) {
    return fault_of({.question = question, .answer = answer}, passage);
  };
  EXPECT_EQ(fault("When did the board meet?", "in May"), "");
  EXPECT_EQ(fault("When did the board meet?", "in June"), "the answer is not in the passage");
  EXPECT_EQ(fault("Did the board meet in May?", "May"), "the question holds its answer");
  EXPECT_EQ(fault("The board met then.", "May"), "is no question");
  EXPECT_EQ(fault("When?", "May"), "the question is too short or too long");
  EXPECT_EQ(fault("When did they do it?", "May"), "the question does not say what it is about");
  EXPECT_EQ(fault("When does the passage say the board met?", "May"),
            "the question speaks of the text, not of its matter");
}

TEST(QuestionChecks, NearlyTheSameIsADuplicate) {
  SeenQuestions seen;
  EXPECT_TRUE(seen.add("When did the board meet?", "May"));
  EXPECT_FALSE(seen.add("when did  the board meet", "in June"));
  EXPECT_FALSE(seen.add("When did the board meet then?", "May"));
  EXPECT_TRUE(seen.add("When did the board meet there?", "Tuesday"));
  EXPECT_TRUE(seen.add("Who led the board?", "May"));
}

}  // namespace
}  // namespace offbook::ingest
