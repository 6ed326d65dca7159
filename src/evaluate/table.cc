#include "src/evaluate/table.h"

#include <algorithm>

#include <fmt/format.h>

namespace offbook::evaluate {
namespace {

std::string cost_text(double flops) {
  return flops >= 1e12 ? fmt::format("{:.2f}T", flops / 1e12) : fmt::format("{:.0f}G", flops / 1e9);
}

std::string score_columns(const Score& score) {
  if (!score.value) {
    return fmt::format("{:>7}  {:>13}  {:>22}", "-", "", "");
  }
  std::string interval, difference;
  if (score.interval) {
    interval = fmt::format("{}…{}", score_text(*score.scorer, score.interval->low),
                           score_text(*score.scorer, score.interval->high));
  }
  if (score.difference) {
    const metrics::Interval& d = *score.difference;
    const double scale = score.scorer->is_percent ? 100 : 1;
    const bool is_clear = d.low > 0 || d.high < 0;
    difference = fmt::format("{:+.1f} ({:+.1f}…{:+.1f}){}", d.estimate * scale, d.low * scale,
                             d.high * scale, is_clear ? "*" : " ");
  }
  return fmt::format("{:>7}  {:>13}  {:>22}", score_text(*score.scorer, *score.value), interval,
                     difference);
}

void task_block(const SuiteScores& scores, const TaskScores& task, std::string& out) {
  const TaskData& data = task.run->data;
  if (!data.absent.empty()) {
    out += fmt::format("{}: absent, {}\n\n", data.task->name, data.absent);
    return;
  }
  out +=
      fmt::format("{}: {}, {} questions on {} documents ({})\n", data.task->name,
                  data.task->metrics.front(), data.cases.size(), data.documents.size(), data.part);
  out +=
      fmt::format("  {:<28} {:>7}  {:>13}  {:>22} {:>7} {:>8} {:>7} {:>7} {:>6}\n", "", "score",
                  "95%", "− " + scores.options.baseline, "kept", "first", "tok/s", "FLOP", "GiB");
  for (const CellScores& cell : task.cells) {
    const std::string name = row_name(*scores.run, cell.cell);
    if (!cell.absent.empty()) {
      out += fmt::format("  {:<28} absent: {}\n", name, cell.absent);
      continue;
    }
    if (cell.questions == 0) {
      out += fmt::format("  {:<28} no question ({} did not fit)\n", name, cell.skipped);
      continue;
    }
    out += fmt::format(
        "  {:<28} {} {:>7.0f} {:>8} {:>7} {:>7} {:>6.2f}{}{}\n", name,
        score_columns(cell.scores.front()), cell.kept_tokens,
        cell.first_token_seconds ? fmt::format("{:.0f} ms", *cell.first_token_seconds * 1e3) : "-",
        cell.decode_tokens_per_second ? fmt::format("{:.0f}", *cell.decode_tokens_per_second) : "-",
        cost_text(cell.flops), static_cast<double>(cell.peak_bytes) / (1 << 30),
        cell.cut_share > 0 ? fmt::format("  cut {:.0f}%", cell.cut_share * 100) : "",
        cell.skipped > 0 ? fmt::format("  {} did not fit", cell.skipped) : "");
    if (cell.gap_recovered) {
      out.insert(out.size() - 1, fmt::format("  gap recovered {:.3f}", *cell.gap_recovered));
    }
  }
  out += '\n';
}

// A row a cell, a column a task.
void all_tasks(const SuiteScores& scores, std::string& out) {
  out += fmt::format("{:<30}", "all tasks, first metric");
  for (const TaskScores& task : scores.tasks) {
    out += fmt::format(" {:>9.9}", task.run->data.task->name);
  }
  out += fmt::format(" {:>9}\n", "average");
  for (size_t cell = 0; cell < scores.run->cells.size(); ++cell) {
    out += fmt::format("  {:<28}", row_name(*scores.run, cell));
    for (const TaskScores& task : scores.tasks) {
      const auto& found = task.cells[cell].scores;
      out += fmt::format(" {:>9}", found.empty() || !found.front().value
                                       ? "-"
                                       : score_text(*found.front().scorer, *found.front().value));
    }
    const auto& average = scores.averages[cell];
    out += fmt::format(" {:>9}\n", average ? fmt::format("{:.1f}", *average * 100) : "-");
  }
  if (scores.run->suite->tasks_for_average > scores.tasks.size()) {
    out += fmt::format("no average below {} tasks\n", scores.run->suite->tasks_for_average);
  }
}

}  // namespace

std::string row_name(const SuiteRun& run, size_t cell) {
  const bool is_one_window = std::all_of(run.cells.begin(), run.cells.end(), [&](const Cell& c) {
    return c.window == run.cells.front().window;
  });
  std::string name = run.cells[cell].name();
  return is_one_window ? name.substr(0, name.rfind(" w")) : name;
}

std::string score_text(const Scorer& scorer, double value) {
  return scorer.is_percent ? fmt::format("{:.1f}", value * 100) : fmt::format("{:.3f}", value);
}

std::string render_table(const SuiteScores& scores) {
  std::string out;
  for (const TaskScores& task : scores.tasks) {
    task_block(scores, task, out);
  }
  if (scores.tasks.size() > 1) {
    all_tasks(scores, out);
  }
  out +=
      "* the 95% interval of the difference leaves out 0; first: time to the first token of a "
      "prompt computed whole (median)\n";
  return out;
}

}  // namespace offbook::evaluate
