#include <gmock/gmock.h>

#include "src/base/file_system_memory.h"
#include "src/compress/data/build.h"
#include "src/compress/data/rule_tasks.h"
#include "src/compress/data/shingles.h"
#include "src/compress/test_model.h"

namespace offbook::compress {
namespace {

using testing::HasSubstr;
using testing_models::ByteTokenizer;

const char kText[] =
    "The school was opened by Mary Smith in March 1998. It stood beside a large river for "
    "years.\n\n"
    "The committee has 12 members from all parties. Seventeen elephants wandered slowly through "
    "the abandoned marketplace yesterday.";

TEST(Shingles, CountWordsNotPunctuation) {
  EXPECT_TRUE(shingles("one two three four five six seven").empty());
  EXPECT_EQ(shingles("One, two three four five six seven EIGHT!").size(), 1u);
  EXPECT_EQ(shingles("one two three four five six seven eight"),
            shingles("ONE two; three\nfour (five) six - seven eight."));
}

TEST(Shingles, OverlapNamesTheTextThatHoldsMost) {
  OverlapIndex index;
  index.add("other", "a b c d e f g h i j k l m n o p");
  index.add("held", kText);
  index.finish();
  EXPECT_EQ(index.worst("nothing of this stands anywhere in what was added before it").share, 0);
  const auto all = index.worst(kText);
  EXPECT_DOUBLE_EQ(all.share, 1);
  EXPECT_EQ(all.name, "held");
  EXPECT_EQ(index.worst("").share, 0);
}

TEST(RuleTasks, KindsAndEvidence) {
  Random random(1);
  const std::string_view text = kText;
  const auto found = rule_examples(text, 1000, {.asked = 9, .cloze = 9, .keywords = 9}, random);
  std::array<int, kExampleKinds> kinds{};
  for (const WordedExample& e : found) {
    ++kinds[static_cast<size_t>(e.kind)];
    const std::string evidence(text.substr(e.evidence.begin, e.evidence.end - e.evidence.begin));
    EXPECT_THAT(evidence, HasSubstr(e.answer)) << e.question;
  }
  EXPECT_GE(kinds[1], 2);
  EXPECT_GE(kinds[2], 1);
  EXPECT_GE(kinds[3], 1);
  EXPECT_EQ(rule_examples(text, 1000, {.asked = 1}, random).size(), 1u);
  EXPECT_TRUE(rule_examples("", 0, {.asked = 9, .cloze = 9, .keywords = 9}, random).empty());
}

TEST(RuleTasks, EvidenceHoldsTheWordsOfTheAnswer) {
  const EvidenceFinder finder(kText);
  const ByteSpan span = finder.find("What wandered there?", "elephants");
  EXPECT_THAT(std::string(kText).substr(span.begin, span.end - span.begin), HasSubstr("elephants"));
  EXPECT_EQ(finder.find("Zebra?", "quagga"), ByteSpan{});
}

class DataBuildTest : public testing::Test {
 protected:
  void put(const std::string& name, const std::vector<nlohmann::json>& records) {
    std::string text;
    for (const auto& r : records) {
      text += r.dump() + "\n";
    }
    fs_.create_directories("/data");
    write_file_atomically(fs_, "/data/" + name, std::as_bytes(std::span(text)));
  }
  static nlohmann::json recipe() {
    return {
        {"name", "t"},          {"system", "S"},
        {"instruction", "I"},   {"quote", "Q"},
        {"shard_tokens", 1000}, {"sources", {{{"file", "a.jsonl"}, {"rules", {{"asked", 50}}}}}}};
  }
  DataReport build(const nlohmann::json& json, const std::string& out = "/out") {
    const std::string text = json.dump();
    write_file_atomically(fs_, "/recipe.json", std::as_bytes(std::span(text)));
    const DataRecipe recipe = read_recipe(fs_, "/recipe.json");
    return build_data(fs_, base_, recipe, {.data = "/data", .out = out});
  }
  std::string error_of(const nlohmann::json& json) {
    try {
      build(json, "/other");
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  static nlohmann::json document(const std::string& text, const std::string& title = "a") {
    return {{"text", text}, {"title", title}, {"group", "g"}, {"licence", "MIT"}};
  }

  MemoryFileSystem fs_;
  ByteTokenizer tokenizer_;
  Fingerprint fingerprint_{std::string(32, 'a'), std::string(32, 'b')};
  DataBase base_{tokenizer_, fingerprint_, text::ChatFormat::chatml};
};

TEST_F(DataBuildTest, ShardsHoldTextQuestionsAndWhereTheyRest) {
  std::vector<nlohmann::json> records;
  for (int i = 0; i < 20; ++i) {
    records.push_back(document(fmt::format("{} Number {} ends.", kText, i), fmt::to_string(i)));
  }
  put("a.jsonl", records);
  const DataReport report = build(recipe());
  EXPECT_GT(report.files.size(), 2u);
  const TrainingSet set = load_shards(fs_, "/out", fingerprint_);
  EXPECT_EQ(set.documents.size(), 20u);
  EXPECT_GT(set.examples(), 20);
  EXPECT_THAT(text::decode(tokenizer_, set.lead), HasSubstr("S"));
  bool is_shuffled = false;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    const TrainingDocument& d = set.documents[i];
    is_shuffled = is_shuffled || d.title != fmt::to_string(i);
    EXPECT_EQ(d.licence, "MIT");
    for (const TrainingExample& e : d.examples) {
      const std::span evidence =
          std::span(d.tokens).subspan(static_cast<size_t>(e.evidence_begin),
                                      static_cast<size_t>(e.evidence_end - e.evidence_begin));
      const std::span answer = std::span(e.answer).first(e.answer.size() - 1);
      EXPECT_THAT(text::decode(tokenizer_, evidence), HasSubstr(text::decode(tokenizer_, answer)));
      EXPECT_THAT(text::decode(tokenizer_, e.question), HasSubstr("Question: "));
      EXPECT_EQ(e.answer.back(), 2);
    }
  }
  EXPECT_TRUE(is_shuffled);
  build(recipe(), "/again");
  for (const auto& file : report.files) {
    const auto again = fs_.open(std::filesystem::path("/again") / file.filename());
    EXPECT_TRUE(std::ranges::equal(fs_.open(file)->bytes(), again->bytes()));
  }
  EXPECT_THAT(error_of([] {
                auto r = recipe();
                r["sources"][0]["licences"] = {"CC0-1.0"};
                return r;
              }()),
              HasSubstr("the licence \"MIT\""));
  EXPECT_THROW(build(recipe()), Error);  // shards are there
  EXPECT_THROW(load_shards(fs_, "/out", {"x", "another"}), Error);
  EXPECT_THROW(load_shards(fs_, "/data", fingerprint_), Error);
}

TEST_F(DataBuildTest, WhatIsMeasuredOnStaysOut) {
  put("a.jsonl", {document("Something else altogether, of no interest to anyone at all."),
                  document(kText, "copied")});
  put("test.jsonl", {{{"id", "t1"}, {"text", kText}}});
  auto json = recipe();
  json["apart"] = {{{"file", "test.jsonl"}}};
  EXPECT_THAT(error_of(json), testing::AllOf(HasSubstr("copied"), HasSubstr("t1")));
  json["sources"][0]["overlap"] = "leave_out";
  EXPECT_EQ(build(json, "/without").sources[0].overlapping, 1);
  json["sources"][0]["overlap"] = "fail";
  json["leave_out"] = {"copied"};
  EXPECT_EQ(build(json).sources[0].left_out, 1);
  // A meeting whose questions are for testing or choosing.
  std::string kept;
  std::vector<nlohmann::json> meetings;
  for (int i = 0; i < 40; ++i) {
    const std::string id = fmt::format("meeting-{}", i);
    meetings.push_back(document("Nobody knew what this meeting of the board was about.", id));
    meetings.back()["qa_id"] = id;
    kept += metrics::split_part(id) == metrics::SplitPart::train ? "+" : "";
  }
  put("a.jsonl", meetings);
  EXPECT_EQ(build(recipe(), "/meetings").sources[0].documents, static_cast<int64_t>(kept.size()));
}

TEST_F(DataBuildTest, PartsOfQuestionSetsAndRecipesWithFaults) {
  std::vector<nlohmann::json> records;
  for (int i = 0; i < 70; ++i) {
    records.push_back(document(kText));
    records.back()["id"] = fmt::format("d{}", i);
    records.back()["questions"] = {
        {{"question", "What wandered?"}, {"answers", {"elephants", "animals"}}}};
  }
  put("a.jsonl", records);
  auto json = recipe();
  json["sources"][0] = {
      {"file", "a.jsonl"}, {"part", "train"}, {"questions", true}, {"references", 1}};
  const DataReport report = build(json);
  EXPECT_GT(report.sources[0].documents, 30);
  EXPECT_GT(report.sources[0].left_out, 5);
  EXPECT_EQ(report.examples.at("given"), report.sources[0].documents);
  json["sources"][0]["misspelt"] = 1;
  EXPECT_THAT(error_of(json), HasSubstr("unknown field misspelt"));
  records.resize(5);
  put("a.jsonl", records);
  json["sources"][0].erase("misspelt");
  EXPECT_THAT(error_of(json), HasSubstr("have no parts"));
}

TEST_F(DataBuildTest, DamageIsFound) {
  put("a.jsonl", {document(kText)});
  const DataReport report = build(recipe());
  const auto file = fs_.open(report.files[0]);
  fs_.create_directories("/cut");
  for (const size_t cut : {size_t{0}, size_t{40}, file->bytes().size() - 1}) {
    write_file_atomically(fs_, "/cut/x.shard", file->bytes().first(cut));
    EXPECT_THROW(load_shards(fs_, "/cut", fingerprint_), Error) << cut;
  }
}

}  // namespace
}  // namespace offbook::compress
