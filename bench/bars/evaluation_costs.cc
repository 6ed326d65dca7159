// Bars: scoring a text for Selective Context takes at most 1.15 × one prefill of it; the evaluation
// harness adds at most 5% to the time that making contexts and reading prompts takes. Sabotaged, a
// text is scored twice and the harness's answers are counted at half their time.
#include "bench/bars/bar.h"
#include "bench/bars/evaluation.h"
#include "bench/bars/records.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "src/compress/selective_context/selective_context.h"
#include "src/evaluate/token_text.h"

namespace offbook {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}
double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Interleaved, on stretches of 1,500 tokens of different documents.
double scoring_share(bars::EvaluationMachine& machine, const bars::Options& options) {
  const auto records =
      bars::lines_of(bars::decompressed(bars::data_directory() / "data/squad.jsonl.zst"));
  std::vector<double> scoring, prefill;
  const int rounds = options.quick ? 5 : 15;
  for (int i = 0; i < rounds; ++i) {
    const auto whole = records[static_cast<size_t>(i)]["text"].get<std::string>();
    const std::string text(evaluate::first_tokens(machine.model().tokenizer(), whole, 1500));
    const auto ids = evaluate::plain_tokens(machine.model().tokenizer(), text).ids;
    auto began = Clock::now();
    for (int again = 0; again < (options.sabotage ? 2 : 1); ++again) {
      compress::score_text(machine.context(),
                           {machine.model().llama(), machine.model().tokenizer()}, text, {});
    }
    scoring.push_back(seconds_since(began));
    model::Sequence sequence = machine.decoder().make_sequence();
    began = Clock::now();
    machine.decoder().append({.sequence = &sequence, .tokens = ids});
    prefill.push_back(seconds_since(began));
  }
  const double share = median(scoring) / median(prefill);
  std::printf(
      "selective_context: %.0f ms for 1,500 tokens, one prefill %.0f ms: %.2f × (bar 1.15)\n",
      1e3 * median(scoring), 1e3 * median(prefill), share);
  return share;
}

double overhead(bars::EvaluationMachine& machine, const bars::Options& options) {
  const evaluate::Suite suite = evaluate::parse_suite(
      "[squad]\ndata = squad.jsonl.zst\nmetrics = f1\nstop = \\n\nmax_tokens = 24\n"
      "prompt =\n  {context}\n\n  Question: {question}\n",
      "overhead.suite");
  const evaluate::SuiteRun run =
      machine.run(suite,
                  {.methods = {"truncate", "random", "selective_context"},
                   .ratios = {8},  // at several, one reading would be counted for each
                   .model_window = machine.window(),
                   .adds_baselines = false},
                  {.limit = options.quick ? 16 : 160, .max_bytes = 24'000});
  double engine = 0;
  for (const auto& cell : run.tasks[0].predictions) {
    for (const auto& p : cell) {
      engine += p->online_seconds + p->offline_seconds + p->prompt_seconds + p->decode_seconds;
    }
  }
  engine *= options.sabotage ? 0.5 : 1;
  const double share = run.seconds / engine - 1;
  std::printf("harness: %.1f s for %.1f s of contexts and answers: overhead %.1f%% (bar 5%%)\n",
              run.seconds, engine, 100 * share);
  return share;
}

int run(const bars::Options& options) {
  if (!bars::has_model_and_data()) {
    std::printf("the model or the data are missing\n");
    return bars::kMissing;
  }
  bars::EvaluationMachine machine;
  const bool scores_fast = scoring_share(machine, options) <= 1.15;
  const bool is_thin = overhead(machine, options) <= 0.05;
  return scores_fast && is_thin ? bars::kHolds : bars::kShort;
}

}  // namespace
}  // namespace offbook

int main(int argc, char** argv) {
  return offbook::bars::run_bar(argc, argv, offbook::run);
}
