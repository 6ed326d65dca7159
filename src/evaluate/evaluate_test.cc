// Whole runs on a tiny model of random weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/base/file_system_memory.h"
#include "src/compress/beacon/weights.h"
#include "src/compress/registry.h"
#include "src/compress/testing/tiny_model.h"
#include "src/evaluate/run.h"
#include "src/evaluate/scores.h"
#include "src/evaluate/table.h"
#include "src/evaluate/token_text.h"

namespace offbook::evaluate {
namespace {

using testing::HasSubstr;

constexpr std::string_view kSuite = R"(metrics = f1, contains, kept_answer
max_tokens = 6
[a]
data = a.jsonl
prompt =
  Read.

  {context}

  Q: {question}
prompt_alone = Q: {question}
[b]
data = a.jsonl
question = What is said?
references = full_output
prompt = {context} {question}
metrics = rouge_1, bleu
)";

class RunTest : public testing::Test {
 protected:
  RunTest() {
    std::string lines;
    for (int d = 0; d < 3; ++d) {
      std::string text;
      for (int i = 0; i < 12; ++i) {
        text +=
            fmt::format("In room {} of house {} there was a chair number {}. ", i, d, i * 7 + d);
      }
      lines += fmt::format(R"({{"id":"house-{}","text":"{}","questions":[)", d, text);
      for (int q = 0; q < 2; ++q) {
        lines += fmt::format(
            R"({}{{"id":"{}-{}","question":"Which chair is in room {}?","answers":["chair number {}"]}})",
            q == 0 ? "" : ",", d, q, q, q * 7 + d);
      }
      lines += "]}\n";
    }
    put(fs_, "a.jsonl", lines);
  }

  static void put(FileSystem& fs, const std::filesystem::path& path, const std::string& text) {
    if (path.has_parent_path()) {
      fs.create_directories(path.parent_path());
    }
    write_file_atomically(fs, path, std::as_bytes(std::span(text)));
  }
  static std::string text_of(FileSystem& fs, const std::filesystem::path& path) {
    const auto file = fs.open(path);
    return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
  }

  SuiteRun run(FileSystem& fs, int32_t batch = 8, int64_t stop_after = -1) {
    model::Decoder decoder(model_.pool, model_.llama,
                           {.backend = model_.ctx.backend, .cache_tokens = 8192});
    const compress::BaseModel base{model_.llama, *model_.tokenizer, {.model = "tiny"}};
    Reader reader(base, decoder, batch);
    const ContextTools tools{.ctx = model_.ctx, .base = base};
    RunOptions options{.cells = make_cells({.methods = {"selective_context", "quito", "beacon"},
                                            .ratios = ratios_,
                                            .model_window = 2048}),
                       .contexts = {.retriever = retrieve::Mode::words},
                       .out = "run"};
    options.on_progress = [&](int64_t done, int64_t) {
      return stop_after < 0 || done < stop_after;
    };
    SuiteRun out = run_suite(fs, suite_, tools, reader, options);
    write_run(fs, out, "run");
    return out;
  }
  std::string predictions() { return text_of(fs_, "run/predictions.jsonl"); }

  MemoryFileSystem fs_;
  std::vector<double> ratios_ = {4};
  compress::testing::TinyModel model_{"gpt2.json"};
  Suite suite_ = parse_suite(kSuite, "tiny.suite");
};

TEST_F(RunTest, BudgetsHoldAndBaselinesAreThere) {
  ratios_ = {4, 8};
  const SuiteRun done = run(fs_);
  EXPECT_EQ(done.cells.size(), 14u);
  for (const TaskRun& task : done.tasks) {
    for (size_t cell = 0; cell < done.cells.size(); ++cell) {
      const Cell& c = done.cells[cell];
      if (c.method == "beacon") {
        EXPECT_THAT(task.absent[cell], HasSubstr("no weights"));
        continue;
      }
      for (const auto& p : task.predictions[cell]) {
        ASSERT_TRUE(p);
        if (c.has_budget()) {
          EXPECT_LE(p->kept_tokens, std::ceil(static_cast<double>(p->source_tokens) / c.ratio));
          EXPECT_GE(p->kept_tokens, static_cast<double>(p->source_tokens) / c.ratio * 0.7)
              << c.name();
        } else {
          EXPECT_EQ(p->kept_tokens, c.method == "none" ? 0 : p->source_tokens);
        }
      }
    }
  }
}

TEST_F(RunTest, PassagesMayBeNumbered) {
  const CaseOptions cases;
  const TaskData data = load_cases(fs_, suite_.tasks[0], cases, *model_.tokenizer);
  const Cell cell{.method = "rag", .ratio = 2, .window = 2048};
  const ContextTools tools{.ctx = model_.ctx, .base = {model_.llama, *model_.tokenizer, {}}};
  std::string texts[2];
  std::string keys[2];
  for (const bool is_numbered : {false, true}) {
    ContextMaker maker(
        tools, {.retriever = retrieve::Mode::words, .best_last = true, .is_numbered = is_numbered});
    const auto made =
        maker.make({.data = &data, .cases = {0}, .cells = {&cell}, .rooms = {{1000}}});
    texts[is_numbered] = made[0][0].text;
    keys[is_numbered] = made[0][0].key;
    EXPECT_LE(made[0][0].kept_tokens, (made[0][0].source_tokens + 1) / 2);
  }
  EXPECT_THAT(texts[1], testing::StartsWith("[1] In room"));
  EXPECT_THAT(texts[1], HasSubstr("\n\n[2] In room"));
  EXPECT_THAT(texts[0], testing::Not(HasSubstr("[1]")));
  EXPECT_NE(keys[0], keys[1]);
}

TEST_F(RunTest, SlotsOfTheBestPassageArePicked) {
  const TaskData data = load_cases(fs_, suite_.tasks[0], {}, *model_.tokenizer);
  const compress::BaseModel base{model_.llama, *model_.tokenizer, {.model = "tiny"}};
  compress::CompressorWeights weights{.method = "beacon", .base = base.fingerprint, .recipe = "r"};
  compress::put_beacon(compress::new_beacon(model_.ctx, base, {.ratios = {4}}), weights);
  const auto beacon = compress::make_compressor(model_.ctx, base, "beacon", &weights);
  const ContextTools tools{.ctx = model_.ctx, .base = base, .learned = {{"beacon", beacon.get()}}};
  ContextMaker maker(tools, {.retriever = retrieve::Mode::words, .slot_ratio = 4});
  const Cell few{.method = "picked", .budget = 5, .window = 2048};
  const Cell all{.method = "picked", .ratio = 2, .window = 2048};
  const auto made = maker.make(
      {.data = &data, .cases = {0, 1}, .cells = {&few, &all}, .rooms = {{1000, 1000}, {1000, 3}}});
  for (size_t i = 0; i < 2; ++i) {
    const MadeContext& one = made[i][0];
    EXPECT_TRUE(one.is_online);
    EXPECT_TRUE(one.text.empty());
    EXPECT_EQ(one.kept_tokens, 5);
    EXPECT_EQ(one.cited, 1);
    EXPECT_EQ(one.supporting, 1);  // the passage with the room that was asked for
    EXPECT_EQ(one.parts.front().kv.dim(2), 5);
  }
  // No more than there are, nor than the prompt has room for.
  EXPECT_EQ(made[0][1].kept_tokens, (made[0][1].source_tokens + 3) / 4);
  EXPECT_EQ(made[1][1].kept_tokens, 3);
  EXPECT_NE(made[0][0].key, made[1][0].key);
}

TEST_F(RunTest, WrongDataLeavesNothingBehind) {
  put(fs_, "a.jsonl", "{\"context\": \"c\"}\n");
  EXPECT_THROW(run(fs_), Error);
  EXPECT_FALSE(fs_.stat("run"));
}

TEST_F(RunTest, AnswersDoNotDependOnTheBatch) {
  run(fs_, 8);
  const std::string together = predictions();
  fs_.remove("run/journal/0000.jsonl");
  run(fs_, 1);
  EXPECT_EQ(predictions(), together);
}

TEST_F(RunTest, StoppedAnywhereItGoesOn) {
  run(fs_);
  const std::string whole = predictions();
  const std::string journal = text_of(fs_, "run/journal/0000.jsonl");
  for (const int64_t after : {1, 30}) {
    fs_.remove("run/journal/0000.jsonl");
    EXPECT_THROW(run(fs_, 8, after), Error);
    const SuiteRun rest = run(fs_);
    EXPECT_GT(rest.kept, 0);
    EXPECT_GT(rest.computed, 0);
    EXPECT_EQ(predictions(), whole) << after;
    fs_.remove("run/journal/0001.jsonl");
  }
  // A kill: what was being written ends anywhere, also inside a line.
  for (const double share : {0.13, 0.77, 0.999}) {
    put(fs_, "run/journal/0000.jsonl",
        journal.substr(0, static_cast<size_t>(share * static_cast<double>(journal.size()))));
    run(fs_);
    EXPECT_EQ(predictions(), whole) << share;
    fs_.remove("run/journal/0001.jsonl");
  }
  put(fs_, "run/journal/0000.jsonl", journal);
  EXPECT_EQ(run(fs_).computed, 0);
}

// Large batches read tails together; what was stopped reads whole batches again.
TEST_F(RunTest, LargeBatchesGoOnToo) {
  run(fs_, 16);
  const std::string whole = predictions();
  const std::string journal = text_of(fs_, "run/journal/0000.jsonl");
  put(fs_, "run/journal/0000.jsonl", journal.substr(0, journal.size() / 3));
  EXPECT_GT(run(fs_, 16).computed, 0);
  EXPECT_EQ(predictions(), whole);
}

TEST_F(RunTest, ScoresAreTheSameFromKeptPredictions) {
  const SuiteRun now = run(fs_);
  const SuiteRun kept = kept_suite_run(fs_, suite_, "run");
  const ScoreOptions options{.baseline = "truncate", .resamples = 500};
  nlohmann::json a = to_json(score_run(now, options))["tasks"];
  const nlohmann::json b = to_json(score_run(kept, options))["tasks"];
  for (size_t t = 0; t < a.size(); ++t) {
    std::erase_if(a[t]["cells"].get_ref<nlohmann::json::array_t&>(),
                  [](const nlohmann::json& cell) { return cell.contains("absent"); });
  }
  EXPECT_EQ(a, b);
  EXPECT_THROW(score_run(now, {.baseline = "zip"}), Error);
}

TEST_F(RunTest, TheFullTextAgreesWithItself) {
  const SuiteRun done = run(fs_);
  const SuiteScores scores = score_run(done, {.baseline = "truncate", .resamples = 200});
  const CellScores& full = scores.tasks[1].cells.back();
  EXPECT_EQ(done.cells[full.cell].method, "full");
  EXPECT_EQ(full.scores[0].value, 1.0);
  const std::string table = render_table(scores);
  EXPECT_THAT(table, HasSubstr("beacon 4x "));
  EXPECT_THAT(table, HasSubstr("absent: no weights"));
}

TEST(TokenText, CutsAtCharacters) {
  const compress::testing::TinyModel model("gpt2.json");
  const std::string text = "naïve 你好 🙂 words and more words";
  for (int64_t n = 0; n < 40; ++n) {
    const std::string_view head = first_tokens(*model.tokenizer, text, n);
    const std::string_view tail = last_tokens(*model.tokenizer, text, n);
    EXPECT_LE(count_tokens(*model.tokenizer, head), n);
    EXPECT_LE(count_tokens(*model.tokenizer, tail), n);
    EXPECT_TRUE(head.empty() || (static_cast<unsigned char>(text[head.size()]) & 0xc0) != 0x80);
    EXPECT_TRUE(tail.empty() || (static_cast<unsigned char>(tail[0]) & 0xc0) != 0x80);
  }
}

TEST(DocumentIndex, RanksByWords) {
  const PassageWords words;
  const std::string text = "The harbour froze in March. The mayor spoke of bridges. Ships waited.";
  const DocumentIndex index(text, {{0, 27}, {28, 55}, {56, 69}}, words);
  const std::vector<std::string> questions{"What did the mayor say about the bridge?", "?"};
  const auto asked = asked_questions(questions, words, nullptr);
  EXPECT_EQ(index.rank(asked[0], retrieve::Mode::words)[0], 1u);
  EXPECT_THROW(index.rank(asked[1], retrieve::Mode::hybrid), Error);
  EXPECT_EQ(word_passages("one two  three\nfour five", 2).size(), 3u);
  EXPECT_EQ(word_passages("one two  three", 2)[1], (ByteSpan{9, 14}));
}

}  // namespace
}  // namespace offbook::evaluate
