#include "src/evaluate/scores.h"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/base/json_fields.h"

namespace offbook::evaluate {
namespace {

using metrics::Interval;

// What one metric's cases of one document add up to.
struct DocumentSums {
  std::vector<double> sums;
  int64_t cases = 0;
};
using ByDocument = std::map<std::string, DocumentSums>;

struct Statistic {
  const Scorer& scorer;
  const std::vector<const DocumentSums*>& documents;

  std::optional<double> of(std::span<const uint32_t> drawn) const {
    DocumentSums all;
    for (const uint32_t d : drawn) {
      add(*documents[d], all);
    }
    return all.cases == 0 ? std::nullopt : scorer.value(all.sums, all.cases);
  }
  static void add(const DocumentSums& one, DocumentSums& to) {
    to.sums.resize(std::max(to.sums.size(), one.sums.size()));
    for (size_t i = 0; i < one.sums.size(); ++i) {
      to.sums[i] += one.sums[i];
    }
    to.cases += one.cases;
  }
};

std::vector<uint32_t> all_of(size_t n) {
  std::vector<uint32_t> out(n);
  for (size_t i = 0; i < n; ++i) {
    out[i] = static_cast<uint32_t>(i);
  }
  return out;
}

std::vector<const DocumentSums*> pointers(const ByDocument& documents) {
  std::vector<const DocumentSums*> out;
  for (const auto& [id, sums] : documents) {
    out.push_back(&sums);
  }
  return out;
}

std::vector<metrics::DocumentScores> means(const ByDocument& documents) {
  std::vector<metrics::DocumentScores> out;
  for (const auto& [id, sums] : documents) {
    out.push_back({id, sums.sums[0], sums.cases});
  }
  return out;
}

int64_t questions_in(const ByDocument& documents) {
  int64_t n = 0;
  for (const auto& [id, sums] : documents) {
    n += sums.cases;
  }
  return n;
}

class TaskScorer {
 public:
  TaskScorer(const SuiteRun& run, const TaskRun& task, const ScoreOptions& options)
      : run_(run), task_(task), options_(options) {}

  TaskScores score() {
    TaskScores out{.run = &task_};
    added_.resize(run_.cells.size());
    for (size_t cell = 0; cell < run_.cells.size(); ++cell) {
      out.cells.push_back(score_cell(cell));
    }
    recovered(out);
    return out;
  }

 private:
  // What each case of a cell adds to a score; computed once, as ROUGE of long texts costs.
  using Added = std::vector<std::optional<std::vector<double>>>;
  const Added& added(size_t cell, const Scorer& scorer) {
    const auto [at, is_new] = added_[cell].try_emplace(scorer.name);
    if (is_new) {
      at->second.resize(task_.data.cases.size());
      for (size_t i = 0; i < task_.data.cases.size(); ++i) {
        const std::optional<Prediction>& p = task_.predictions[cell][i];
        if (p && p->skipped.empty()) {
          if (const auto c = scored_case(task_, run_.cells, cell, i)) {
            at->second[i] = scorer.add(outcome_of(task_, *c, *p));
          }
        }
      }
    }
    return at->second;
  }

  // Of those cases only that `counts` names (all where it is null).
  ByDocument sums_of(size_t cell, const Scorer& scorer, const std::vector<bool>* counts) {
    ByDocument out;
    const Added& all = added(cell, scorer);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i] && (counts == nullptr || (*counts)[i])) {
        Statistic::add({*all[i], 1}, out[task_.data.documents[task_.data.cases[i].document].id]);
      }
    }
    return out;
  }

  metrics::BootstrapOptions bootstrap() const {
    return {.seed = options_.seed, .resamples = options_.resamples};
  }

  bool counts(size_t cell, size_t i) const {
    const auto& p = task_.predictions[cell][i];
    return p && p->skipped.empty() && scored_case(task_, run_.cells, cell, i).has_value();
  }

  // The baseline's cell with the same budget, else its only one in this window.
  std::optional<size_t> baseline_of(size_t cell) const {
    const Cell& ours = run_.cells[cell];
    for (size_t b = 0; b < run_.cells.size(); ++b) {
      const Cell& other = run_.cells[b];
      const bool matches = other.group() == ours.group() ||
                           (!other.has_budget() && other.top_k == 0 && other.window == ours.window);
      if (b != cell && other.method == options_.baseline && matches && task_.absent[b].empty()) {
        return b;
      }
    }
    return std::nullopt;
  }

  CellScores score_cell(size_t cell) {
    CellScores out{.cell = cell, .absent = task_.absent[cell]};
    if (!out.absent.empty()) {
      return out;
    }
    costs(cell, out);
    const std::optional<size_t> baseline = baseline_of(cell);
    std::vector<bool> common(task_.data.cases.size());
    for (size_t i = 0; baseline && i < common.size(); ++i) {
      common[i] = counts(cell, i) && counts(*baseline, i);
    }
    if (baseline && std::count(common.begin(), common.end(), true) > 0) {
      out.baseline = run_.cells[*baseline].name();
    }
    for (const std::string& name : task_.data.task->metrics) {
      const Scorer& scorer = find_scorer(name);
      Score score{.scorer = &scorer};
      const ByDocument ours = sums_of(cell, scorer, nullptr);
      one_sample(ours, score);
      if (!out.baseline.empty()) {
        paired(sums_of(cell, scorer, &common), sums_of(*baseline, scorer, &common), score);
      }
      out.scores.push_back(score);
    }
    return out;
  }

  void one_sample(const ByDocument& documents, Score& score) const {
    if (documents.empty()) {
      return;
    }
    const std::vector<const DocumentSums*> list = pointers(documents);
    const Statistic statistic{*score.scorer, list};
    score.value = statistic.of(all_of(list.size()));
    if (!score.value || list.size() < 2) {
      return;
    }
    if (is_mean(*score.scorer)) {
      score.interval = metrics::bootstrap_mean(means(documents), bootstrap());
      return;
    }
    score.interval = metrics::bootstrap_statistic(
        list.size(),
        [&](std::span<const uint32_t> drawn) { return statistic.of(drawn).value_or(0); },
        bootstrap());
    score.interval->documents = static_cast<int64_t>(list.size());
    score.interval->questions = questions_in(documents);
  }

  void paired(const ByDocument& ours, const ByDocument& theirs, Score& score) const {
    const bool is_same = std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                                    [](const auto& a, const auto& b) {
                                      return a.first == b.first && a.second.cases == b.second.cases;
                                    });
    if (!is_same || ours.size() < 2) {
      return;
    }
    if (is_mean(*score.scorer)) {
      score.difference = metrics::bootstrap_difference(means(ours), means(theirs), bootstrap());
      return;
    }
    const std::vector<const DocumentSums*> a = pointers(ours), b = pointers(theirs);
    const Statistic first{*score.scorer, a};
    const Statistic second{*score.scorer, b};
    score.difference = metrics::bootstrap_statistic(
        a.size(),
        [&](std::span<const uint32_t> drawn) {
          return first.of(drawn).value_or(0) - second.of(drawn).value_or(0);
        },
        bootstrap());
  }

  void costs(size_t cell, CellScores& out) const {
    std::map<std::string, int64_t> documents;
    std::vector<double> first_token;
    double decode_seconds = 0;
    int64_t decoded = 0, cut = 0;
    for (size_t i = 0; i < task_.data.cases.size(); ++i) {
      const std::optional<Prediction>& p = task_.predictions[cell][i];
      if (!p) {
        continue;
      }
      if (!p->skipped.empty()) {
        ++out.skipped;
        continue;
      }
      ++out.questions;
      ++documents[task_.data.documents[task_.data.cases[i].document].id];
      out.source_tokens += static_cast<double>(p->source_tokens);
      out.kept_tokens += static_cast<double>(p->kept_tokens);
      out.prompt_tokens += static_cast<double>(p->prompt_tokens);
      out.flops += p->flops;
      out.offline_seconds += p->offline_seconds;
      out.peak_bytes = std::max(out.peak_bytes, p->peak_bytes);
      cut += p->is_cut;
      if (p->is_cold) {
        first_token.push_back(p->online_seconds + p->prompt_seconds);
      }
      if (p->answer_tokens > 1) {
        decoded += p->answer_tokens - 1;
        decode_seconds += p->decode_seconds;
      }
    }
    out.documents = static_cast<int64_t>(documents.size());
    const auto n = static_cast<double>(std::max<int64_t>(1, out.questions));
    for (double* mean : {&out.source_tokens, &out.kept_tokens, &out.prompt_tokens, &out.flops}) {
      *mean /= n;
    }
    out.cut_share = static_cast<double>(cut) / n;
    out.offline_seconds /= static_cast<double>(std::max<int64_t>(1, out.documents));
    out.cold_prompts = static_cast<int64_t>(first_token.size());
    if (!first_token.empty()) {
      std::nth_element(first_token.begin(),
                       first_token.begin() + static_cast<std::ptrdiff_t>(first_token.size() / 2),
                       first_token.end());
      out.first_token_seconds = first_token[first_token.size() / 2];
    }
    if (decode_seconds > 0) {
      out.decode_tokens_per_second = static_cast<double>(decoded) / decode_seconds;
    }
  }

  // Where losses were measured with no text, with all of it, and with what was kept.
  void recovered(TaskScores& out) {
    if (task_.data.task->measure != Measure::continuation) {
      return;
    }
    const auto loss = [&](size_t cell) -> std::optional<double> {
      if (!task_.absent[cell].empty()) {
        return std::nullopt;
      }
      const ByDocument sums = sums_of(cell, find_scorer("loss"), nullptr);
      const std::vector<const DocumentSums*> list = pointers(sums);
      return Statistic{find_scorer("loss"), list}.of(all_of(list.size()));
    };
    std::optional<double> none, full;
    for (size_t cell = 0; cell < run_.cells.size(); ++cell) {
      const std::string& method = run_.cells[cell].method;
      if (run_.cells[cell].top_k == 0 && (method == "none" || method == "full")) {
        (method == "none" ? none : full) = loss(cell);
      }
    }
    for (CellScores& cell : out.cells) {
      const auto own = loss(cell.cell);
      if (none && full && own && *none != *full) {
        cell.gap_recovered = (*none - *own) / (*none - *full);
      }
    }
  }

  const SuiteRun& run_;
  const TaskRun& task_;
  const ScoreOptions& options_;
  std::vector<std::map<std::string_view, Added>> added_;  // by cell, by metric
};

nlohmann::json interval_json(const std::optional<Interval>& interval) {
  return interval ? nlohmann::json{interval->low, interval->high} : nlohmann::json();
}

nlohmann::json cell_json(const SuiteRun& run, const CellScores& cell) {
  const Cell& c = run.cells[cell.cell];
  nlohmann::json out{{"cell", c.name()}, {"method", c.method}, {"window", c.window}};
  if (c.ratio > 0) {
    out["ratio"] = c.ratio;
  }
  if (c.budget > 0) {
    out["budget"] = c.budget;
  }
  if (c.top_k > 0) {
    out["top_k"] = c.top_k;
  }
  if (!cell.absent.empty()) {
    out["absent"] = cell.absent;
    return out;
  }
  const auto optional = [](const std::optional<double>& v) {
    return v ? nlohmann::json(*v) : nlohmann::json();
  };
  out.update({{"documents", cell.documents},
              {"questions", cell.questions},
              {"skipped", cell.skipped},
              {"baseline", cell.baseline},
              {"source_tokens", cell.source_tokens},
              {"kept_tokens", cell.kept_tokens},
              {"prompt_tokens", cell.prompt_tokens},
              {"cut_share", cell.cut_share},
              {"first_token_s", optional(cell.first_token_seconds)},
              {"cold_prompts", cell.cold_prompts},
              {"decode_tokens_per_s", optional(cell.decode_tokens_per_second)},
              {"offline_s_per_document", cell.offline_seconds},
              {"flops", cell.flops},
              {"peak_bytes", cell.peak_bytes}});
  if (cell.gap_recovered) {
    out["gap_recovered"] = *cell.gap_recovered;
  }
  for (const Score& score : cell.scores) {
    nlohmann::json one{{"value", optional(score.value)},
                       {"interval", interval_json(score.interval)}};
    if (score.difference) {
      one["difference"] = score.difference->estimate;
      one["difference_interval"] = interval_json(score.difference);
    }
    out["scores"][std::string(score.scorer->name)] = std::move(one);
  }
  return out;
}

}  // namespace

std::optional<Case> scored_case(const TaskRun& task, const std::vector<Cell>& cells, size_t cell,
                                size_t index) {
  Case c = task.data.cases[index];
  if (task.data.task->references == References::given) {
    return c;
  }
  for (size_t full = 0; full < cells.size(); ++full) {
    const bool is_full = cells[full].method == "full" && cells[full].top_k == 0 &&
                         cells[full].window == cells[cell].window;
    const auto& p = task.predictions[full][index];
    if (is_full && p && p->skipped.empty()) {
      c.answers = {p->text};
      return c;
    }
  }
  return std::nullopt;
}

Outcome outcome_of(const TaskRun& task, const Case& c, const Prediction& p) {
  return {.task = *task.data.task,
          .question = c,
          .prediction = p.text,
          .kept_answer = p.kept_answer,
          .cited = p.cited,
          .supporting = p.supporting,
          .nll_sum = p.nll_sum,
          .tokens = p.nll_tokens,
          .bytes = p.nll_bytes};
}

SuiteScores score_run(const SuiteRun& run, const ScoreOptions& options) {
  const bool is_known = std::any_of(run.cells.begin(), run.cells.end(), [&](const Cell& cell) {
    return cell.method == options.baseline;
  });
  std::string methods;
  for (const Cell& cell : run.cells) {
    if (methods.find(cell.method) == std::string::npos) {
      methods += (methods.empty() ? "" : ", ") + cell.method;
    }
  }
  OB_REQUIRE(is_known, InvalidArgument, "--baseline {}: the table has {}",
             printable(options.baseline), methods);
  SuiteScores out{.run = &run, .options = options};
  for (const TaskRun& task : run.tasks) {
    out.tasks.push_back(TaskScorer(run, task, options).score());
  }
  for (size_t cell = 0; cell < run.cells.size(); ++cell) {
    double sum = 0;
    size_t n = 0;
    bool is_percent = true;
    for (const TaskScores& task : out.tasks) {
      const CellScores& scores = task.cells[cell];
      if (!scores.scores.empty() && scores.scores.front().value) {
        sum += *scores.scores.front().value;
        is_percent = is_percent && scores.scores.front().scorer->is_percent;
        ++n;
      }
    }
    const size_t wanted = std::max<size_t>(run.suite->tasks_for_average, 1);
    out.averages.push_back(n >= wanted && is_percent ? std::optional(sum / static_cast<double>(n))
                                                     : std::nullopt);
  }
  return out;
}

nlohmann::json to_json(const SuiteScores& scores) {
  nlohmann::json out{{"suite", scores.run->suite->name},
                     {"title", scores.run->suite->title},
                     {"baseline", scores.options.baseline},
                     {"seed", scores.options.seed},
                     {"confidence", 0.95},
                     {"predictions_computed", scores.run->computed},
                     {"predictions_kept", scores.run->kept},
                     {"seconds", scores.run->seconds}};
  for (const TaskScores& task : scores.tasks) {
    nlohmann::json one{{"task", task.run->data.task->name},
                       {"part", task.run->data.part},
                       {"questions", task.run->data.cases.size()},
                       {"documents", task.run->data.documents.size()}};
    if (!task.run->data.absent.empty()) {
      one["absent"] = task.run->data.absent;
    }
    for (const CellScores& cell : task.cells) {
      one["cells"].push_back(cell_json(*scores.run, cell));
    }
    out["tasks"].push_back(std::move(one));
  }
  for (size_t cell = 0; cell < scores.averages.size(); ++cell) {
    if (scores.averages[cell]) {
      out["averages"][scores.run->cells[cell].name()] = *scores.averages[cell];
    }
  }
  return out;
}

}  // namespace offbook::evaluate
