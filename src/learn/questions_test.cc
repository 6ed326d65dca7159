// Question files: no model.
#include "src/base/file_system_memory.h"
#include "src/learn/question_set.h"
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

}  // namespace
}  // namespace offbook::learn
