#include "src/evaluate/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/file_system_memory.h"
#include "src/evaluate/builtin_suites.h"
#include "src/evaluate/cases.h"
#include "src/evaluate/cell.h"
#include "src/evaluate/prompt.h"
#include "src/evaluate/scorers.h"
#include "src/text/tokenizer_json.h"

namespace offbook::evaluate {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kGood = R"(# what it is
title = A suite
max_tokens = 8
metrics = f1, contains

[a]
data = a.jsonl
stop = \n, END
prompt =
  Read this.

    {context}

  Question: {question}

[b]
data = b.jsonl
max_tokens = 4
prompt = {context} {question}
)";

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string parse_error(std::string_view text) {
  return error_of([&] { parse_suite(text, "x.suite"); });
}

TEST(Suite, ReadsTasksWithDefaults) {
  const Suite suite = parse_suite(kGood, "folder/mine.suite");
  EXPECT_EQ(suite.name, "mine");
  EXPECT_EQ(suite.title, "A suite");
  ASSERT_EQ(suite.tasks.size(), 2u);
  EXPECT_EQ(suite.tasks[0].prompt, "Read this.\n\n  {context}\n\nQuestion: {question}");
  EXPECT_THAT(suite.tasks[0].stop, ElementsAre("\n", "END"));
  EXPECT_EQ(suite.tasks[0].max_tokens, 8);
  EXPECT_EQ(suite.tasks[1].max_tokens, 4);
  EXPECT_THAT(suite.tasks[1].metrics, ElementsAre("f1", "contains"));
  EXPECT_EQ(suite.tasks[1].where, "folder/mine.suite:16");
}

TEST(Suite, EveryBuiltInSuiteIsWhole) {
  EXPECT_GE(builtin_suites().size(), 10u);
  for (const BuiltinSuite& suite : builtin_suites()) {
    const Suite read = load_suite(real_file_system(), std::string(suite.name));
    EXPECT_FALSE(read.title.empty()) << suite.name;
  }
  EXPECT_EQ(load_suite(real_file_system(), "infinitebench").tasks.size(), 12u);
  EXPECT_EQ(load_suite(real_file_system(), "infinitebench").tasks_for_average, 12u);
  EXPECT_EQ(load_suite(real_file_system(), "ruler").tasks.size(), 13u);
}

TEST(Suite, RefusesWithFileAndLine) {
  const std::string task = "[t]\ndata = a\nmetrics = f1\nprompt = {context} {question}\n";
  EXPECT_EQ(parse_error(task), "");
  EXPECT_THAT(parse_error("[t]\nwhat is this\n"), HasSubstr("x.suite:2: wanted [task]"));
  EXPECT_THAT(parse_error(task + "metric = f1\n"), HasSubstr("x.suite:5: no key is called metric"));
  EXPECT_THAT(parse_error(task + "data = b\n"), HasSubstr("x.suite:5: data stands twice"));
  EXPECT_THAT(parse_error(task + "[t]\n"), HasSubstr("x.suite:5: the task t stands twice"));
  EXPECT_THAT(parse_error(task + "max_tokens = many\n"),
              HasSubstr("x.suite:5: max_tokens: wanted"));
  EXPECT_THAT(parse_error(task + "temperature = 9\n"), HasSubstr("x.suite:5: temperature"));
  EXPECT_THAT(parse_error("[t]\ndata = a\nmetrics = f2\n"),
              HasSubstr("x.suite:3: metrics: no metric is called f2; there are f1"));
  EXPECT_THAT(parse_error("[t]\nmetrics = f1\nprompt = {context} {question}\n"),
              HasSubstr("x.suite:1: the task t needs data"));
  EXPECT_THAT(parse_error("[t]\ndata = a\nmetrics = f1\nprompt = {question} {context}\n"),
              HasSubstr("{question} before {context}"));
  EXPECT_THAT(parse_error("[t]\ngenerate = niah\n"), HasSubstr("x.suite:2: generate: wanted"));
  EXPECT_THAT(parse_error("[t]\ngenerate = ruler.niah\n"), HasSubstr("x.suite:2: generate"));
  EXPECT_THAT(parse_error("title = nothing\n"), HasSubstr("at least one [task]"));
  EXPECT_THAT(error_of([] { load_suite(real_file_system(), "nosuch"); }), HasSubstr("grid, "));
}

class CasesTest : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    write_file_atomically(fs_, name, std::as_bytes(std::span(text)));
  }
  TaskData load(const CaseOptions& options = {}) {
    return load_cases(fs_, suite_.tasks[0], options, *tokenizer_);
  }

  MemoryFileSystem fs_;
  Suite suite_ = parse_suite(kGood, "x.suite");
  std::unique_ptr<text::Tokenizer> tokenizer_ = text::read_tokenizer_json(
      real_file_system().open("tests/golden/tokenizers/gpt2.json")->bytes(), "gpt2.json");
};

TEST_F(CasesTest, DocumentsAndRows) {
  put("a.jsonl",
      R"({"id":"d","text":"One.","questions":[{"id":"q","question":"?","answers":["One"],)"
      R"("options":["One","Two"],"label":0}]})"
      "\n"
      R"({"context":"Two.","question":"What?","answer":"Two"})"
      "\n"
      R"({"context":"Two.","question":"Again?","answers":["Two","2"]})"
      "\n");
  const TaskData data = load();
  ASSERT_EQ(data.documents.size(), 2u);
  ASSERT_EQ(data.cases.size(), 3u);
  EXPECT_EQ(data.part, "all");
  EXPECT_TRUE(data.learned_may_run);
  EXPECT_EQ(data.cases[0].label, 0u);
  EXPECT_EQ(data.cases[2].document, 1u);
  EXPECT_EQ(data.documents[0].hash.size(), 32u);
}

TEST_F(CasesTest, AnswerSets) {
  put("a.jsonl",
      R"({"context":"c","question":"q","answer_sets":[["Paris","City of Light"],["Rome"]]})"
      "\n");
  const TaskData data = load();
  EXPECT_THAT(data.cases[0].answers, ElementsAre("Paris", "City of Light", "Rome"));
  const Scorer& scorer = find_scorer("asqa_em_recall");
  const auto score = scorer.add(
      {.task = suite_.tasks[0], .question = data.cases[0], .prediction = "It was paris."});
  EXPECT_EQ(score->front(), 0.5);
  put("a.jsonl", R"({"context":"c","question":"q","answer_sets":[["Paris"],[1]]})"
                 "\n");
  EXPECT_THAT(error_of([&] { load(); }), HasSubstr("a.jsonl line 1, set 1: answer_sets is a list"));
}

TEST_F(CasesTest, RefusesWithFileAndLine) {
  const auto error = [&](const std::string& line) {
    put("a.jsonl", R"({"context":"c","question":"q","answer":"a"})"
                   "\n" +
                       line + "\n");
    return error_of([&] { load(); });
  };
  EXPECT_THAT(error("{"), HasSubstr("a.jsonl line 2"));
  EXPECT_THAT(error(R"({"prompt":"p","completion":"c"})"),
              HasSubstr("a.jsonl line 2: neither a document (text, questions) nor a row (context, "
                        "question, answers); it has completion, prompt"));
  EXPECT_THAT(error(R"({"context":"c","question":"q","answers":[]})"),
              HasSubstr("a.jsonl line 2: the question row-1#0 has no answers"));
  EXPECT_THAT(error(R"({"context":"c","question":"q","answer":"a","options":["a"],"label":1})"),
              HasSubstr("a.jsonl line 2"));
  EXPECT_THAT(error(R"({"context":"c","question":"q","answers":[1]})"),
              HasSubstr("a.jsonl line 2: answers is a list of texts"));
}

TEST_F(CasesTest, AnAbsentFileIsNoError) {
  const TaskData data = load({.data = "elsewhere"});
  EXPECT_EQ(data.absent, "no file a.jsonl in elsewhere");
  EXPECT_TRUE(data.cases.empty());
}

TEST_F(CasesTest, PartsAndLimits) {
  std::string lines;
  for (int d = 0; d < 80; ++d) {
    lines += fmt::format(R"({{"id":"doc-{}","text":"Text {}.","questions":[)", d, d);
    for (int q = 0; q < 3; ++q) {
      lines += fmt::format(R"({}{{"question":"q{}","answers":["a"]}})", q == 0 ? "" : ",", q);
    }
    lines += "]}\n";
  }
  put("a.jsonl", lines);
  const TaskData test = load();
  EXPECT_EQ(test.part, "test");
  EXPECT_TRUE(test.learned_may_run);
  for (const CaseDocument& document : test.documents) {
    EXPECT_EQ(metrics::split_part(document.id), metrics::SplitPart::test);
  }
  const TaskData all = load({.part = Part::all});
  EXPECT_EQ(all.documents.size(), 80u);
  EXPECT_FALSE(all.learned_may_run);
  // As many documents as questions, the same ones every time, and a larger sample holds the
  // smaller.
  const TaskData few = load({.part = Part::all, .limit = 20});
  const TaskData more = load({.part = Part::all, .limit = 40});
  EXPECT_EQ(few.documents.size(), 20u);
  const auto holds = [&](const Case& c) {
    return std::any_of(more.cases.begin(), more.cases.end(),
                       [&](const Case& other) { return other.id == c.id; });
  };
  EXPECT_TRUE(std::all_of(few.cases.begin(), few.cases.end(), holds));
}

// Of a set of long documents the four shortest stay, of others those that are short enough.
TEST_F(CasesTest, LongDocumentsAreLeftOut) {
  const auto documents = [&](int64_t max_bytes) {
    std::string names;
    for (const CaseDocument& document : load({.max_bytes = max_bytes}).documents) {
      names += document.id;
    }
    return names;
  };
  std::string lines;
  for (const char id : {'f', 'b', 'e', 'a', 'd', 'c'}) {
    lines += fmt::format(R"({{"id":"{}","text":"{}","questions":[]}})", id,
                         std::string(static_cast<size_t>(id - 'a' + 1) * 10, 'x')) +
             "\n";
  }
  put("a.jsonl", lines);
  EXPECT_EQ(documents(0), "fbeadc");
  EXPECT_EQ(documents(55), "beadc");
  EXPECT_EQ(documents(5), "badc");
}

// RULER's worked example stands before the task's own instruction, and no method compresses it.
TEST(Ruler, TheWorkedExampleStandsBeforeTheText) {
  MemoryFileSystem fs;
  write_file_atomically(fs, "book.jsonl",
                        std::as_bytes(std::span(std::string_view("{\"text\":\"A book.\"}\n"))));
  const auto tokenizer = text::read_tokenizer_json(
      real_file_system().open("tests/golden/tokenizers/gpt2.json")->bytes(), "gpt2.json");
  const Suite suite = load_suite(real_file_system(), "ruler");
  for (const char* name : {"vt", "cwe"}) {
    const auto task = std::find_if(suite.tasks.begin(), suite.tasks.end(),
                                   [&](const Task& t) { return t.name == name; });
    Task made = *task;
    made.haystack = "book.jsonl";
    const TaskData data = load_cases(fs, made, {.limit = 1, .lengths = {2048}}, *tokenizer);
    const Case& c = data.cases.at(0);
    const std::string& text = data.documents.at(0).text;
    EXPECT_THAT(c.example, HasSubstr("Answer:"));
    EXPECT_THAT(text, Not(HasSubstr(c.example)));
    const ReadPrompt prompt =
        PromptMaker(*tokenizer, std::nullopt).make(*task, c, {.text = text, .kept_tokens = 1});
    const std::string head = text::decode(*tokenizer, prompt.head.at(0).tokens);
    EXPECT_EQ(head, c.example + text) << name;
  }
}

// Nothing stands before slots in a form without chat that begins with the context.
TEST(Prompts, BeginWithSlots) {
  const auto tokenizer = text::read_tokenizer_json(
      real_file_system().open("tests/golden/tokenizers/gpt2.json")->bytes(), "gpt2.json");
  const Task task{.prompt = "{context} {question}"};
  const ReadPrompt prompt =
      PromptMaker(*tokenizer, std::nullopt)
          .make(task, {.question = "Which?"}, {.parts = {{.tokens = {5, 6}}}, .key = "slots"});
  ASSERT_EQ(prompt.head.size(), 1u);
  EXPECT_THAT(prompt.head[0].tokens, ElementsAre(5, 6));
  EXPECT_FALSE(prompt.tail.empty());
}

// What a model is given to go on from: with chat form only where the task says so.
TEST(Prompts, AnswersBeginWithTheStem) {
  const auto tokenizer = text::read_tokenizer_json(
      real_file_system().open("tests/golden/tokenizers/llama2.json")->bytes(), "llama2.json");
  const Case c{.id = "one", .question = "Which number?", .stem = "The number is"};
  Task task{.prompt = "{context} {question}"};
  const auto end_of = [&](std::optional<text::ChatFormat> format) {
    const ReadPrompt prompt =
        PromptMaker(*tokenizer, format).make(task, c, {.text = "It is 5.", .kept_tokens = 5});
    return text::decode(*tokenizer, prompt.tail);
  };
  EXPECT_THAT(end_of(text::ChatFormat::llama2), EndsWith("[/INST]"));
  EXPECT_THAT(end_of(std::nullopt), EndsWith("?\nThe number is"));
  task.begins_answer = true;
  EXPECT_THAT(end_of(text::ChatFormat::llama2), EndsWith("[/INST] The number is"));
}

TEST(Lengths, AreRead) {
  EXPECT_THAT(parse_lengths("100,2k", "--x"), ElementsAre(100, 2048));
  const auto ten = parse_lengths("1k..32k", "--x");
  EXPECT_EQ(ten.size(), 10u);
  EXPECT_EQ(ten.back(), 32768);
  for (const char* bad : {"", "k", "4m", "0", "8k..1k", "1,,2"}) {
    EXPECT_THROW(parse_lengths(bad, "--x"), Error) << bad;
  }
}

TEST(Cells, BaselinesStandBesideEveryMethod) {
  const auto cells = make_cells({.methods = {"quito"}, .ratios = {8}, .model_window = 2048});
  std::vector<std::string> names;
  for (const Cell& cell : cells) {
    names.push_back(cell.name());
    EXPECT_EQ(cell_named(cell.name()).name(), cell.name());
  }
  EXPECT_THAT(names, ElementsAre("none w2048", "truncate 8x w2048", "random 8x w2048",
                                 "rag 8x w2048", "quito 8x w2048", "full w2048"));
}

TEST(Cells, Grid) {
  const auto cells = make_cells({.windows = {1024, 2048},
                                 .top_k = {0, 3},
                                 .compress = {1, 8},
                                 .grid_method = "truncate",
                                 .model_window = 2048});
  EXPECT_EQ(cells.size(), 8u);
  EXPECT_EQ(cells[3].name(), "truncate k3 8x w1024");
}

TEST(Cells, Refuse) {
  EXPECT_THAT(error_of([] { make_cells({.methods = {"zip"}, .model_window = 2048}); }),
              HasSubstr("no method is called zip; there are none, full, rag, picked, truncate"));
  EXPECT_THAT(
      error_of([] { make_cells({.methods = {"rag"}, .windows = {4096}, .model_window = 2048}); }),
      HasSubstr("4096 tokens; the model reads at most 2048"));
  EXPECT_THROW(make_cells({.methods = {"rag"}, .ratios = {0.5}, .model_window = 2048}), Error);
  EXPECT_THROW(
      make_cells({.top_k = {3}, .compress = {8}, .grid_method = "picked", .model_window = 2048}),
      Error);
}

}  // namespace
}  // namespace offbook::evaluate
