#include "src/evaluate/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/evaluate/report/plots.h"

namespace offbook::evaluate {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t count(const std::string& text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
    ++n;
  }
  return n;
}

// Three needles at two lengths under two cells.
class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    run_.suite = &suite_;
    run_.cells = {{.method = "truncate", .ratio = 8, .window = 2048},
                  {.method = "quito", .ratio = 8, .window = 2048}};
    TaskRun task;
    task.data.task = &suite_.tasks[0];
    task.absent.resize(2);
    task.predictions.assign(2, {});
    for (int i = 0; i < 4; ++i) {
      task.data.documents.push_back(
          {.id = fmt::format("d{}", i), .text = "A long text with <b>Oslo</b> in it & more."});
      task.data.cases.push_back({.id = fmt::format("q{}", i),
                                 .document = static_cast<size_t>(i),
                                 .question = "Which </script> city?",
                                 .answers = {"Oslo"},
                                 .depth = i % 2 * 1.0,
                                 .length = i < 2 ? 1024 : 2048});
      for (size_t cell = 0; cell < 2; ++cell) {
        const bool is_right = cell == 1;
        task.predictions[cell].push_back(
            Prediction{.key = fmt::format("{}-{}", cell, i),
                       .text = is_right ? "Oslo" : "<i>Rome</i>",
                       .source_tokens = 100,
                       .kept_tokens = 12,
                       .answer_tokens = 3,
                       .kept_answer = is_right ? 1 : 0,
                       .cited = static_cast<int64_t>(cell) * 2,
                       .spans = {{0, 10}, {17, 30}},
                       .is_cold = true,
                       .prompt_seconds = 0.01 * static_cast<double>(cell + 1),
                       .decode_seconds = 0.02});
      }
    }
    run_.tasks.push_back(std::move(task));
  }

  Suite suite_ = parse_suite(
      "title = Needles <1>\n[n]\ngenerate = needle_random\nhaystack = h\nmetrics = contains\n"
      "prompt = {context} {question}\n",
      "n.suite");
  SuiteRun run_;
};

TEST_F(ReportTest, IsOneFileWithPlotsAndPredictions) {
  const std::string page =
      render_report(score_run(run_, {.baseline = "truncate", .resamples = 200}), {.model = "m"});
  // Tokens, latency, documents, and a heat map a cell.
  EXPECT_EQ(count(page, "<svg"), 5u);
  EXPECT_EQ(count(page, "</svg>"), 5u);
  EXPECT_EQ(count(page, "class=\"cell\""), 8u);
  EXPECT_THAT(page, HasSubstr("Needles &lt;1&gt;"));
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_EQ(count(page, "<script"), count(page, "</script>"));
  EXPECT_THAT(page, HasSubstr("class=\"up\""));
}

TEST_F(ReportTest, PredictionsAreJsonWithMarkedPassages) {
  const std::string page =
      render_report(score_run(run_, {.baseline = "truncate", .resamples = 200}), {});
  const std::string opening = "id=\"predictions\">";
  const size_t begin = page.find(opening) + opening.size();
  const auto all = nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  ASSERT_EQ(all.size(), 8u);
  EXPECT_EQ(all[0]["question"], "Which </script> city?");
  // Retrieved passages stand apart, other kept text is one piece with gaps.
  EXPECT_EQ(all[0]["pieces"][0]["text"], "A long tex … <b>Oslo</b> i");
  EXPECT_EQ(all[0]["pieces"][0]["marks"][0], (nlohmann::json{16, 20}));
  EXPECT_EQ(all[1]["pieces"].size(), 2u);
  EXPECT_TRUE(all[1]["pieces"][0]["marks"].empty());
  EXPECT_EQ(all[1]["pieces"][1]["marks"][0], (nlohmann::json{3, 7}));
}

TEST(Plots, Empty) {
  EXPECT_EQ(xy_plot({.title = "t"}, {}), "");
  EXPECT_EQ(xy_plot({.title = "t"}, {{.name = "s"}}), "");
}

TEST(Plots, OnePointAndZeroOnALogAxis) {
  const std::string plot =
      xy_plot({.title = "a < b", .has_log_x = true},
              {{.name = "none", .points = {{.x = 0, .y = 1, .low = 1, .high = 1, .label = "0"}}},
               {.name = "x", .points = {{.x = 64, .y = 3, .low = 2, .high = 4, .label = "64"}}}});
  EXPECT_THAT(plot, HasSubstr("a &lt; b"));
  EXPECT_EQ(count(plot, "<circle"), 4u);  // and two in the legend
  EXPECT_THAT(plot, Not(HasSubstr("nan")));
  EXPECT_THAT(plot, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace offbook::evaluate
