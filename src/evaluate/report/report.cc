#include "src/evaluate/report/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "src/evaluate/report/browser.h"
#include "src/evaluate/report/page.h"
#include "src/evaluate/report/plots.h"
#include "src/evaluate/table.h"

namespace offbook::evaluate {
namespace {

double shown(const Scorer& scorer, double value) {
  return scorer.is_percent ? value * 100 : value;
}

// One decimal, with a sign unless it is 0.
std::string signed_text(double value) {
  const std::string text = fmt::format("{:.1f}", std::abs(value));
  return text == "0.0" ? text : (value < 0 ? "−" : "+") + text;
}

class Report {
 public:
  Report(const SuiteScores& scores, const ReportOptions& options)
      : scores_(scores), run_(*scores.run), options_(options) {}

  std::string render() {
    const Suite& suite = *run_.suite;
    const std::string title = suite.title.empty() ? suite.name : suite.title;
    out_ = fmt::format(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>"
        "<style>{1}</style></head><body><h1>{0}</h1><p class=\"about\">suite {2}{3}; differences "
        "are to {4}, intervals are 95% over documents</p>",
        escaped(title), kReportStyle, escaped(suite.name),
        options_.model.empty() ? "" : ", model " + escaped(options_.model),
        escaped(scores_.options.baseline));
    overview();
    for (const TaskScores& task : scores_.tasks) {
      section(task);
    }
    browser();
    return out_ + "</body></html>\n";
  }

 private:
  void overview() {
    if (scores_.tasks.size() < 2) {
      return;
    }
    out_ += fmt::format(
        "<h2>All tasks</h2><p class=\"about\">The first metric of each. Green: clearly above {0} "
        "at "
        "the same budget; red: clearly below.</p><div class=\"wide\"><table><tr><th>method</th>",
        escaped(scores_.options.baseline));
    std::vector<const TaskScores*> there;  // absent tasks say so in their sections
    for (const TaskScores& task : scores_.tasks) {
      if (task.run->data.absent.empty()) {
        there.push_back(&task);
      }
    }
    for (const TaskScores* task : there) {
      out_ += fmt::format("<th>{} <span class=\"ci\">{}</span></th>",
                          escaped(task->run->data.task->name),
                          escaped(task->run->data.task->metrics.front()));
    }
    out_ += "<th>average</th></tr>";
    for (size_t cell = 0; cell < run_.cells.size(); ++cell) {
      out_ += row_opening(cell);
      for (const TaskScores* task : there) {
        const auto& found = task->cells[cell].scores;
        out_ += found.empty() || !found.front().value
                    ? std::string("<td>–</td>")
                    : fmt::format("<td><span class=\"{}\">{}</span></td>", verdict(found.front()),
                                  score_text(*found.front().scorer, *found.front().value));
      }
      const auto& average = scores_.averages[cell];
      out_ +=
          fmt::format("<td>{}</td></tr>", average ? fmt::format("{:.1f}", *average * 100) : "–");
    }
    out_ += "</table></div>";
  }

  // A line stands above the first budget of each method.
  std::string row_opening(size_t cell) const {
    const bool is_first = cell > 0 && run_.cells[cell].method != run_.cells[cell - 1].method;
    return fmt::format("<tr{}><td>{}</td>", is_first ? " class=\"first\"" : "",
                       escaped(row_name(run_, cell)));
  }

  void section(const TaskScores& task) {
    const TaskData& data = task.run->data;
    out_ += fmt::format("<h2>{}</h2>", escaped(data.task->name));
    if (!data.absent.empty()) {
      out_ += fmt::format("<p class=\"about\">absent: {}</p>", escaped(data.absent));
      return;
    }
    out_ += fmt::format("<p class=\"about\">{} questions on {} documents ({}); {}</p>",
                        data.cases.size(), data.documents.size(), escaped(data.part),
                        escaped(fmt::format("{}", fmt::join(data.task->metrics, ", "))));
    table(task);
    out_ += "<div class=\"plots\">" + against_tokens(task) + against_time(task) +
            by_document(task) + needles(task) + "</div>";
  }

  void table(const TaskScores& task) {
    out_ += "<div class=\"wide\"><table><tr><th>method</th>";
    for (const std::string& metric : task.run->data.task->metrics) {
      out_ += fmt::format("<th>{}</th>", escaped(metric));
    }
    out_ += fmt::format(
        "<th>− {}</th><th>kept tokens</th><th>first token</th><th>tokens/s</th><th>GFLOP</th>"
        "<th>GiB</th></tr>",
        escaped(scores_.options.baseline));
    const size_t columns = task.run->data.task->metrics.size() + 6;
    for (const CellScores& cell : task.cells) {
      out_ += row_opening(cell.cell);
      if (!cell.absent.empty() || cell.questions == 0) {
        out_ += fmt::format(
            "<td class=\"absent\" colspan=\"{}\">{}</td></tr>", columns,
            cell.absent.empty() ? "nothing fits the window" : "absent: " + escaped(cell.absent));
        continue;
      }
      for (const Score& score : cell.scores) {
        out_ += fmt::format("<td>{}</td>", value_text(score));
      }
      out_ += fmt::format(
          "<td>{}</td><td>{:.0f}{}</td><td>{}</td><td>{}</td><td>{:.1f}</td><td>{:.2f}</td></tr>",
          difference_text(cell.scores.front()), cell.kept_tokens,
          cell.cut_share > 0
              ? fmt::format(" <span class=\"ci\">cut {:.0f}%</span>", cell.cut_share * 100)
              : "",
          cell.first_token_seconds ? fmt::format("{:.0f} ms", *cell.first_token_seconds * 1e3)
                                   : "–",
          cell.decode_tokens_per_second ? fmt::format("{:.0f}", *cell.decode_tokens_per_second)
                                        : "–",
          cell.flops / 1e9, static_cast<double>(cell.peak_bytes) / (1 << 30));
    }
    out_ += "</table></div>";
  }

  static std::string value_text(const Score& score) {
    if (!score.value) {
      return "–";
    }
    std::string out = score_text(*score.scorer, *score.value);
    if (score.interval) {
      out += fmt::format(" <span class=\"ci\">{}–{}</span>",
                         score_text(*score.scorer, score.interval->low),
                         score_text(*score.scorer, score.interval->high));
    }
    return out;
  }

  // The style of a score whose difference to the baseline is clear.
  static std::string_view verdict(const Score& score) {
    if (!score.difference) {
      return "";
    }
    const metrics::Interval& d = *score.difference;
    const bool is_better = score.scorer->is_lower_better ? d.high < 0 : d.low > 0;
    const bool is_worse = score.scorer->is_lower_better ? d.low > 0 : d.high < 0;
    return is_better ? "up" : is_worse ? "down" : "";
  }

  static std::string difference_text(const Score& score) {
    if (!score.difference) {
      return "–";
    }
    const metrics::Interval& d = *score.difference;
    return fmt::format("<span class=\"{}\">{}</span> <span class=\"ci\">{}…{}</span>",
                       verdict(score), signed_text(shown(*score.scorer, d.estimate)),
                       signed_text(shown(*score.scorer, d.low)),
                       signed_text(shown(*score.scorer, d.high)));
  }

  // A series a method, points in the order of the cells.
  std::vector<PlotSeries> series(const TaskScores& task, bool by_time) const {
    std::vector<PlotSeries> out;
    for (const CellScores& cell : task.cells) {
      if (cell.scores.empty() || !cell.scores.front().value ||
          (by_time && !cell.first_token_seconds)) {
        continue;
      }
      const Cell& c = run_.cells[cell.cell];
      auto at = std::find_if(out.begin(), out.end(),
                             [&](const PlotSeries& s) { return s.name == c.method; });
      if (at == out.end()) {
        out.push_back({.name = c.method, .is_line = !by_time});
        at = out.end() - 1;
      }
      const Score& score = cell.scores.front();
      PlotPoint point{.x = by_time ? *cell.first_token_seconds * 1e3 : cell.kept_tokens,
                      .y = shown(*score.scorer, *score.value)};
      point.low = score.interval ? shown(*score.scorer, score.interval->low) : point.y;
      point.high = score.interval ? shown(*score.scorer, score.interval->high) : point.y;
      point.label =
          fmt::format("{}: {} at {:.0f} {}", row_name(run_, cell.cell),
                      score_text(*score.scorer, *score.value), point.x, by_time ? "ms" : "tokens");
      at->points.push_back(std::move(point));
    }
    return out;
  }

  std::string against_tokens(const TaskScores& task) const {
    return xy_plot({.title = "Quality against tokens kept",
                    .x_label = "tokens kept (log scale; no context at the left end)",
                    .y_label = task.run->data.task->metrics.front(),
                    .has_log_x = true},
                   series(task, false));
  }
  std::string against_time(const TaskScores& task) const {
    return xy_plot({.title = "Quality against time to the first token",
                    .x_label = "ms (log scale), median of prompts computed whole",
                    .y_label = task.run->data.task->metrics.front(),
                    .has_log_x = true},
                   series(task, true));
  }

  // Mean score of each document under one cell.
  std::map<std::string, double> document_means(const TaskScores& task, size_t cell) const {
    const Scorer& scorer = find_scorer(task.run->data.task->metrics.front());
    std::map<std::string, std::pair<std::vector<double>, int64_t>> sums;
    for (size_t i = 0; i < task.run->data.cases.size(); ++i) {
      const auto& p = task.run->predictions[cell][i];
      const auto c = scored_case(*task.run, run_.cells, cell, i);
      if (!p || !p->skipped.empty() || !c) {
        continue;
      }
      if (const auto added = scorer.add(outcome_of(*task.run, *c, *p))) {
        auto& [sum, n] = sums[task.run->data.documents[c->document].id];
        sum.resize(added->size());
        std::transform(sum.begin(), sum.end(), added->begin(), sum.begin(), std::plus<>());
        ++n;
      }
    }
    std::map<std::string, double> out;
    for (const auto& [id, sum] : sums) {
      if (const auto value = scorer.value(sum.first, sum.second)) {
        out[id] = shown(scorer, *value);
      }
    }
    return out;
  }

  // The method that is best where it has a baseline at its own budget, against that baseline.
  std::string by_document(const TaskScores& task) const {
    const CellScores* best = nullptr;
    for (const CellScores& cell : task.cells) {
      const bool competes = !cell.baseline.empty() && !cell.scores.empty() &&
                            cell.scores.front().difference && run_.cells[cell.cell].has_budget();
      if (competes && (best == nullptr || cell.scores.front().difference->estimate >
                                              best->scores.front().difference->estimate)) {
        best = &cell;
      }
    }
    if (best == nullptr) {
      return "";
    }
    size_t baseline = 0;
    while (run_.cells[baseline].name() != best->baseline) {
      ++baseline;
    }
    const auto ours = document_means(task, best->cell);
    const auto theirs = document_means(task, baseline);
    PlotSeries points{.name = "documents"};
    for (const auto& [id, value] : ours) {
      if (const auto at = theirs.find(id); at != theirs.end()) {
        points.points.push_back(
            {.x = at->second,
             .y = value,
             .low = value,
             .high = value,
             .label = fmt::format("{}: {:.1f} and {:.1f}", id, at->second, value)});
      }
    }
    return xy_plot({.title = fmt::format("Each document: {}", row_name(run_, best->cell)),
                    .x_label = row_name(run_, baseline),
                    .y_label = row_name(run_, best->cell),
                    .has_diagonal = true},
                   {points});
  }

  // A map a cell, where cases have lengths and depths.
  std::string needles(const TaskScores& task) const {
    std::set<int64_t> lengths;
    std::set<int> depths;
    for (const Case& c : task.run->data.cases) {
      if (c.length > 0 && c.depth >= 0) {
        lengths.insert(c.length);
        depths.insert(static_cast<int>(std::lround(c.depth * 100)));
      }
    }
    if (lengths.size() * depths.size() < 2 || task.run->data.task->source != Source::needle) {
      return "";
    }
    std::string out;
    for (const CellScores& cell : task.cells) {
      if (cell.absent.empty() && run_.cells[cell.cell].method != "none") {
        out += needle_map(task, cell.cell, lengths, depths);
      }
    }
    return out;
  }

  std::string needle_map(const TaskScores& task, size_t cell, const std::set<int64_t>& lengths,
                         const std::set<int>& depths) const {
    const Scorer& scorer = find_scorer(task.run->data.task->metrics.front());
    HeatMap map{.title = row_name(run_, cell),
                .x_label = "length in tokens",
                .y_label = "depth",
                .values = std::vector<std::optional<double>>(lengths.size() * depths.size())};
    for (const int64_t length : lengths) {
      map.columns.push_back(length >= 1000
                                ? fmt::format("{:.3g}k", static_cast<double>(length) / 1024)
                                : std::to_string(length));
    }
    for (const int depth : depths) {
      map.rows.push_back(fmt::format("{}%", depth));
    }
    std::vector<std::pair<double, int>> sums(map.values.size());
    for (size_t i = 0; i < task.run->data.cases.size(); ++i) {
      const Case& c = task.run->data.cases[i];
      const auto& p = task.run->predictions[cell][i];
      if (!p || !p->skipped.empty()) {
        continue;
      }
      const auto row =
          std::distance(depths.begin(), depths.find(static_cast<int>(std::lround(c.depth * 100))));
      const auto column = std::distance(lengths.begin(), lengths.find(c.length));
      const auto at = static_cast<size_t>(row) * lengths.size() + static_cast<size_t>(column);
      if (const auto added = scorer.add(outcome_of(*task.run, c, *p))) {
        sums[at].first += added->front();
        ++sums[at].second;
      }
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      if (sums[i].second > 0) {
        map.values[i] = sums[i].first / sums[i].second;
      }
    }
    return heat_map(map);
  }

  void browser() {
    std::string data = browsable_predictions(scores_, options_.questions_a_task);
    // Nothing in a text may end the element it stands in.
    for (size_t at = data.find('<'); at != std::string::npos; at = data.find('<', at)) {
      data.replace(at, 1, "\\u003c");
    }
    out_ += fmt::format(
        "<h2>Predictions</h2><p class=\"about\">A sample of the questions. Green: an accepted "
        "answer stands in what was read; red: it does not.</p><div class=\"filters\">"
        "<select id=\"task\"></select><select id=\"cell\"></select><select id=\"kind\">"
        "<option value=\"all\">right and wrong</option><option value=\"right\">right</option>"
        "<option value=\"wrong\">wrong</option></select></div><div id=\"cases\"></div>"
        "<script type=\"application/json\" id=\"predictions\">{}</script><script>{}</script>",
        data, kReportScript);
  }

  const SuiteScores& scores_;
  const SuiteRun& run_;
  const ReportOptions& options_;
  std::string out_;
};

}  // namespace

std::string render_report(const SuiteScores& scores, const ReportOptions& options) {
  return Report(scores, options).render();
}

}  // namespace offbook::evaluate
