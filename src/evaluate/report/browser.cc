#include "src/evaluate/report/browser.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/evaluate/table.h"
#include "src/metrics/python_text.h"

namespace offbook::evaluate {
namespace {

using nlohmann::json;

constexpr size_t kPieceBytes = 600;
constexpr size_t kPieces = 10;
constexpr std::string_view kGap = " … ";

// At most kPieceBytes of a span, whole characters.
std::string text_at(const std::string& text, const ByteSpan& span) {
  std::string piece = text.substr(span.begin, std::min(span.end - span.begin, kPieceBytes));
  while (!piece.empty() && span.begin + piece.size() < text.size() &&
         (static_cast<unsigned char>(text[span.begin + piece.size()]) & 0xc0) == 0x80) {
    piece.pop_back();
  }
  return piece;
}

size_t utf16_units(std::string_view text) {
  size_t n = 0;
  for (const char32_t code : metrics::code_points(text)) {
    n += code > 0xffff ? 2 : 1;
  }
  return n;
}

// Where the first accepted answer stands that stands there at all.
json marks_in(const std::string& piece, const Case& c) {
  json marks = json::array();
  const std::string folded = metrics::python_lower(piece);
  if (folded.size() != piece.size()) {
    return marks;  // offsets would not fit
  }
  for (const std::string& answer : c.answers) {
    const std::string wanted = metrics::python_lower(answer);
    const size_t at = wanted.empty() ? std::string::npos : folded.find(wanted);
    if (at != std::string::npos) {
      marks.push_back(
          {utf16_units(piece.substr(0, at)), utf16_units(piece.substr(0, at + wanted.size()))});
      break;
    }
  }
  return marks;
}

// Retrieved passages one by one; what other methods kept as one text with gaps.
json pieces_of(const TaskData& data, const Case& c, const Prediction& p) {
  const std::string& text = data.documents[c.document].text;
  std::vector<std::string> pieces;
  for (const ByteSpan& span : p.spans) {
    if (span.end > text.size() || span.begin >= span.end) {
      break;
    }
    const std::string piece = text_at(text, span);
    if (p.cited > 0 || pieces.empty()) {
      pieces.push_back(piece);
    } else if (pieces.back().size() < kPieceBytes) {
      pieces.back().append(kGap).append(piece);
    }
    if (pieces.size() == kPieces) {
      break;
    }
  }
  json out = json::array();
  for (const std::string& piece : pieces) {
    out.push_back({{"text", piece}, {"marks", marks_in(piece, c)}});
  }
  return out;
}

// Of the task's first metric; 0 where there is nothing to count.
double single_score(const TaskRun& task, const Case& c, const Prediction& p) {
  const Scorer& scorer = find_scorer(task.data.task->metrics.front());
  const auto added = scorer.add(outcome_of(task, c, p));
  return added ? scorer.value(*added, 1).value_or(0) : 0;
}

}  // namespace

std::string browsable_predictions(const SuiteScores& scores, size_t questions_a_task) {
  const SuiteRun& run = *scores.run;
  json all = json::array();
  for (const TaskScores& task : scores.tasks) {
    const TaskData& data = task.run->data;
    const Scorer& scorer = find_scorer(data.task->metrics.front());
    const size_t n = std::min(data.cases.size(), questions_a_task);
    for (size_t k = 0; k < n; ++k) {
      const size_t i = k * data.cases.size() / n;
      for (size_t cell = 0; cell < run.cells.size(); ++cell) {
        const auto& p = task.run->predictions[cell][i];
        const auto c = scored_case(*task.run, run.cells, cell, i);
        if (!p || !p->skipped.empty() || !c || data.task->measure == Measure::continuation) {
          continue;
        }
        const double score = single_score(*task.run, *c, *p);
        all.push_back({{"task", data.task->name},
                       {"cell", row_name(run, cell)},
                       {"document", data.documents[c->document].id},
                       {"question", c->question},
                       {"answers", c->answers},
                       {"text", p->text},
                       {"metric", scorer.name},
                       {"score", score},
                       {"scoreText", score_text(scorer, score)},
                       {"kept", p->kept_tokens},
                       {"source", p->source_tokens},
                       {"pieces", pieces_of(data, *c, *p)}});
      }
    }
  }
  return all.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace offbook::evaluate
