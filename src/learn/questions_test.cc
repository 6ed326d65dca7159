// Question files, rules, checks: no model.
#include "src/base/file_system_memory.h"
#include "src/learn/question_checks.h"
#include "src/learn/question_set.h"
#include "src/learn/rule_questions.h"
#include "src/store/store_testing.h"

namespace offbook::learn {
namespace {

using store::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<GivenQuestion> read(const std::string& name, const std::string& text) {
  MemoryFileSystem fs;
  write_file_atomically(fs, name, std::as_bytes(std::span(text)));
  return read_question_file(fs, name);
}

TEST(QuestionFile, JsonLinesAndCsvSayTheSame) {
  const auto json = read("/q.jsonl",
                         "{\"question\": \"Who met?\", \"answers\": [\"The board\", \"board\"], "
                         "\"file\": \"a.txt\", \"kind\": 3}\n\n"
                         "{\"question\": \"When?\", \"answer\": \"in May\"}\n");
  const auto csv =
      read("/q.csv", "file,question,answers\na.txt,Who met?,The board|board\n,When?,in May\n");
  for (const auto& set : {json, csv}) {
    ASSERT_EQ(set.size(), 2u);
    EXPECT_EQ(set[0].question, "Who met?");
    EXPECT_THAT(set[0].answers, ElementsAre("The board", "board"));
    EXPECT_EQ(set[0].document, "a.txt");
    EXPECT_EQ(set[1].document, "");
    EXPECT_EQ(set[1].line, 3u);
  }
}

TEST(QuestionFile, ErrorsNameFileAndLine) {
  const auto fails = [](const std::string& name, const std::string& text) {
    return error_of([&] { read(name, text); });
  };
  const std::string good = "{\"question\": \"Q?\", \"answer\": \"a\"}\n";
  auto [code, message] = fails("/q.jsonl", good + "{\"question\": \"Q?\"}\n");
  EXPECT_EQ(code, ErrorCode::Corrupt);
  EXPECT_THAT(message, HasSubstr("/q.jsonl, line 2"));
  EXPECT_THAT(message, HasSubstr("answer"));
  EXPECT_THAT(fails("/q.jsonl", good + "not json\n").second, HasSubstr("/q.jsonl, line 2"));
  EXPECT_THAT(fails("/q.jsonl", good + "{\"question\": \" \", \"answer\": \"a\"}").second,
              HasSubstr("the question is empty"));
  EXPECT_THAT(fails("/q.csv", "a,b\n1,2\n").second, HasSubstr("/q.csv, line 1"));
  EXPECT_THAT(fails("/q.csv", "question,answer\nx,\"y\n").second, HasSubstr("/q.csv: the quote"));
  EXPECT_EQ(fails("/q.jsonl", "\n").first, ErrorCode::InvalidArgument);
  EXPECT_EQ(fails("/q.txt", good).first, ErrorCode::Unsupported);
}

TEST(QuestionFile, QuestionsFindTheirDocument) {
  store::TemporaryDirectory dir;
  store::Corpus corpus = store::Corpus::create(dir.path() / "c", {});
  const int64_t generation = corpus.generations().begin({});
  store::put_document(corpus, generation, "minutes", {"The board met in May.", "Nobody spoke."});
  store::put_document(corpus, generation, "other", {"Cats sleep."});
  const auto match = [&](std::vector<GivenQuestion> given) {
    return match_documents(corpus, generation, "q.jsonl", given);
  };
  const auto found = match({{"When did the board meet?", {"in May"}, "minutes.txt", 1},
                            {"When did the board meet?", {"May"}, "minutes", 2},
                            {"What sleeps?", {"cats"}, "", 3}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].document_id, "minutes");
  EXPECT_THAT(found[0].answers, ElementsAre("in May", "May"));
  ASSERT_EQ(found[0].passages.size(), 1u);
  EXPECT_EQ(corpus.documents().passage(found[0].passages[0]).text, "The board met in May.");
  EXPECT_EQ(found[1].document_id, "");
  const auto [code, message] = error_of([&] { match({{"Q?", {"a"}, "nothing.txt", 7}}); });
  EXPECT_EQ(code, ErrorCode::InvalidArgument);
  EXPECT_THAT(message, HasSubstr("q.jsonl, line 7"));
}

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
}  // namespace offbook::learn
