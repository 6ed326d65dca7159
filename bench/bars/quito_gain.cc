// Bar: QUITO against Selective Context and random words on nq_multidoc, squad and covidqa at 50, 25
// and 12.5% of the tokens, the fall-back to raw text off (there is none here). The answer stands in
// what is kept: above both in all nine cells. The reader's accuracy: above in at least six, below
// in none. Above: the paired 95% interval over documents lies above 0. An argument names another
// row in QUITO's place: quito_no_sink, quito_heads. Sabotaged, its and random's kept texts are
// exchanged.
#include "bench/bars/evaluation.h"

#include <cstdio>

namespace offbook {
namespace {

using evaluate::SuiteRun;
using metrics::Interval;

constexpr std::string_view kSuite = R"(max_tokens = 24
stop = \n
metrics = kept_answer, contains
prompt =
  Read this text.

  {context}

  Answer the question on the text in a few words, taken from the text.
  Question: {question}
[nq_multidoc]
data = nq_multidoc.jsonl.zst
[squad]
data = squad.jsonl.zst
types = extractive
[covidqa]
data = covidqa.jsonl.zst
part = all
)";

Interval difference(const SuiteRun& run, size_t task, size_t ours, size_t theirs, int metric) {
  const evaluate::TaskRun& t = run.tasks[task];
  std::vector<std::string> documents;
  std::vector<double> a, b;
  const evaluate::Scorer& scorer = evaluate::find_scorer(metric == 0 ? "kept_answer" : "contains");
  for (size_t i = 0; i < t.data.cases.size(); ++i) {
    const evaluate::Case& c = t.data.cases[i];
    documents.push_back(t.data.documents[c.document].id);
    a.push_back(scorer.add(evaluate::outcome_of(t, c, *t.predictions[ours][i]))->front());
    b.push_back(scorer.add(evaluate::outcome_of(t, c, *t.predictions[theirs][i]))->front());
  }
  return metrics::bootstrap_difference(metrics::gather_by_document(documents, a),
                                       metrics::gather_by_document(documents, b));
}

size_t cell_of(const SuiteRun& run, const std::string& method, double ratio) {
  for (size_t i = 0; i < run.cells.size(); ++i) {
    if (run.cells[i].method == method && run.cells[i].ratio == ratio) {
      return i;
    }
  }
  OB_THROW(NotFound, "no cell of {}", method);
}

int run(const bars::Options& options) {
  if (!bars::has_model_and_data()) {
    std::printf("the model or the data are missing\n");
    return bars::kMissing;
  }
  const std::string row = options.names.empty() ? "quito" : options.names.front();
  bars::EvaluationMachine machine;
  const evaluate::Suite suite = evaluate::parse_suite(kSuite, "quito_gain.suite");
  const SuiteRun done = machine.run(suite,
                                    {.methods = {"random", "selective_context", row},
                                     .ratios = {2, 4, 8},
                                     .model_window = machine.window(),
                                     .adds_baselines = false},
                                    {.part = evaluate::Part::test,
                                     .limit = options.quick ? 6 : 1000,
                                     .max_bytes = options.quick ? 24'000 : 0});
  const std::string ours = options.sabotage ? "random" : row;
  int kept_above = 0, read_above = 0, read_below = 0, cells = 0;
  for (size_t task = 0; task < done.tasks.size(); ++task) {
    for (const double ratio : {2.0, 4.0, 8.0}) {
      ++cells;
      bool kept = true, read = true;
      bool below = false;
      std::printf("%-12s %4.1f%%", suite.tasks[task].name.c_str(), 100 / ratio);
      for (const std::string& other :
           {options.sabotage ? row : "random", std::string("selective_context")}) {
        const Interval k =
            difference(done, task, cell_of(done, ours, ratio), cell_of(done, other, ratio), 0);
        const Interval r =
            difference(done, task, cell_of(done, ours, ratio), cell_of(done, other, ratio), 1);
        std::printf("  − %s: kept %+.1f (%+.1f…%+.1f) reader %+.1f (%+.1f…%+.1f)", other.c_str(),
                    100 * k.estimate, 100 * k.low, 100 * k.high, 100 * r.estimate, 100 * r.low,
                    100 * r.high);
        kept = kept && k.low > 0;
        read = read && r.low > 0;
        below = below || r.high < 0;
      }
      std::printf("  n %zu/%zu\n", done.tasks[task].data.documents.size(),
                  done.tasks[task].data.cases.size());
      kept_above += kept;
      read_above += read;
      read_below += below;
    }
  }
  std::printf(
      "quito_gain: %s, answer kept above in %d of %d cells (bar 9), reader above in %d (bar 6), "
      "below in %d (bar 0)\n",
      row.c_str(), kept_above, cells, read_above, read_below);
  return kept_above == 9 && read_above >= 6 && read_below == 0 ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
