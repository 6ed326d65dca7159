#include "src/evaluate/scorers.h"

#include <algorithm>
#include <cmath>

#include "src/base/error.h"
#include "src/base/json_fields.h"
#include "src/metrics/bleu.h"
#include "src/metrics/choice.h"
#include "src/metrics/python_text.h"
#include "src/metrics/retrieval_scores.h"
#include "src/metrics/rouge.h"
#include "src/metrics/text_scores.h"

namespace offbook::evaluate {
namespace {

using Sums = std::optional<std::vector<double>>;

Sums one(double value) {
  return std::vector<double>{value};
}

std::optional<double> mean(std::span<const double> sums, int64_t cases) {
  return cases == 0 ? std::nullopt : std::optional(sums[0] / static_cast<double>(cases));
}
std::optional<double> ratio(std::span<const double> sums, int64_t) {
  return sums[1] == 0 ? std::nullopt : std::optional(sums[0] / sums[1]);
}

std::span<const std::string> references(const Outcome& o) {
  return o.question.answers;
}

template <metrics::ChoiceRule rule>
Sums choice(const Outcome& o) {
  if (!o.question.label) {
    return std::nullopt;
  }
  return one(metrics::choice_score(rule, o.prediction, o.question.options, *o.question.label));
}

template <metrics::PrecisionRecall metrics::RougeScores::*kind, metrics::Stemming stemming>
Sums rouge_of(const Outcome& o) {
  return one((metrics::rouge(o.prediction, references(o), stemming).*kind).f1);
}

// Means of the three first, then the cube root of their product.
Sums scrolls_add(const Outcome& o) {
  const metrics::RougeScores r = metrics::rouge(o.prediction, references(o));
  return std::vector<double>{r.rouge_1.f1, r.rouge_2.f1, r.rouge_l.f1};
}
std::optional<double> scrolls_value(std::span<const double> sums, int64_t cases) {
  if (cases == 0) {
    return std::nullopt;
  }
  const auto n = static_cast<double>(cases);
  return std::cbrt(sums[0] / n * (sums[1] / n) * (sums[2] / n));
}

Sums bleu_add(const Outcome& o) {
  const metrics::BleuCounts c = metrics::bleu_counts(o.prediction, references(o));
  std::vector<double> out;
  for (const auto* counts : {&c.correct, &c.total}) {
    out.insert(out.end(), counts->begin(), counts->end());
  }
  out.push_back(static_cast<double>(c.prediction_tokens));
  out.push_back(static_cast<double>(c.reference_tokens));
  return out;
}
std::optional<double> bleu_value(std::span<const double> sums, int64_t cases) {
  metrics::BleuCounts c;
  for (size_t i = 0; i < 4; ++i) {
    c.correct[i] = std::llround(sums[i]);
    c.total[i] = std::llround(sums[4 + i]);
  }
  c.prediction_tokens = std::llround(sums[8]);
  c.reference_tokens = std::llround(sums[9]);
  return cases == 0 ? std::nullopt
                    : std::optional(metrics::bleu(c, metrics::BleuOrder::full) / 100);
}

// RULER: the share of the answers that stand in the prediction, case apart; `any`: 1 for one.
double share_found(const Outcome& o) {
  const std::string prediction = metrics::python_lower(o.prediction);
  double found = 0;
  for (const std::string& answer : o.question.answers) {
    found += prediction.find(metrics::python_lower(answer)) != std::string::npos;
  }
  const auto n = static_cast<double>(std::max<size_t>(1, o.question.answers.size()));
  return o.question.wants_all ? found / n : static_cast<double>(found > 0);
}

template <double (*score)(metrics::InfiniteBenchTask, std::string_view,
                          const metrics::InfiniteBenchLabel&, const metrics::InfiniteBenchOptions&)>
Sums infinitebench(const Outcome& o) {
  OB_REQUIRE(o.task.infinitebench && !o.question.value.is_null(), InvalidArgument,
             "{}: ∞Bench's scorers need a task of ∞Bench", o.task.where);
  return one(score(*o.task.infinitebench, o.prediction,
                   metrics::infinitebench_label(o.question.value), {}));
}

struct Abstention {
  double abstained = 0;
  double is_unanswerable = 0;
};
Abstention abstention(const Outcome& o) {
  return {metrics::is_abstention(o.prediction) ? 1.0 : 0.0,
          metrics::is_unanswerable(references(o)) ? 1.0 : 0.0};
}

std::optional<double> perplexity(std::span<const double> sums, int64_t) {
  return sums[1] == 0 ? std::nullopt : std::optional(std::exp(sums[0] / sums[1]));
}
std::optional<double> bits(std::span<const double> sums, int64_t) {
  return sums[1] == 0 ? std::nullopt : std::optional(sums[0] / std::log(2.0) / sums[1]);
}

using metrics::RougeScores;
using metrics::Stemming;

constexpr Scorer kScorers[] = {
    {"f1", "token F1, SQuAD normalisation, best reference", true, false,
     [](const Outcome& o) { return one(metrics::token_f1(o.prediction, references(o))); }, mean},
    {"exact_match", "equal after SQuAD normalisation", true, false,
     [](const Outcome& o) { return one(metrics::exact_match(o.prediction, references(o))); }, mean},
    {"squad2_f1", "F1 of the SQuAD 2.0 script", true, false,
     [](const Outcome& o) {
       return one(metrics::is_unanswerable(references(o))
                      ? static_cast<double>(metrics::is_abstention(o.prediction))
                      : metrics::squad2_score(o.prediction, references(o)).f1);
     },
     mean},
    {"hotpot_f1", "F1 of what stands before the first full stop (LLoCO)", true, false,
     [](const Outcome& o) {
       return one(metrics::token_f1(metrics::before_full_stop(o.prediction), references(o)));
     },
     mean},
    {"contains", "a reference stands in the answer, normalised, at word borders", true, false,
     [](const Outcome& o) {
       return one(metrics::contains_normalized(o.prediction, references(o)));
     },
     mean},
    {"contains_exactly", "a reference stands in the answer verbatim", true, false,
     [](const Outcome& o) { return one(metrics::contains_exactly(o.prediction, references(o))); },
     mean},
    {"contains_quito", "QUITO's accuracy on NQ", true, false,
     [](const Outcome& o) { return one(metrics::contains_quito(o.prediction, references(o))); },
     mean},
    {"asqa_em_recall", "share of the answer sets of which a name stands in the answer (ASQA)", true,
     false,
     [](const Outcome& o) -> Sums {
       if (!o.question.value.is_array() || o.question.value.empty() ||
           !o.question.value.front().is_array()) {
         return std::nullopt;
       }
       return one(metrics::asqa_em_recall(
           o.prediction, o.question.value.get<std::vector<std::vector<std::string>>>()));
     },
     mean},
    {"ruler", "share of the wanted answers found (RULER)", true, false,
     [](const Outcome& o) { return one(share_found(o)); }, mean},
    {"altqa", "BAMBOO's altqa", true, false,
     [](const Outcome& o) {
       double best = 0;
       for (const std::string& r : references(o)) {
         best = std::max(best, metrics::altqa_score(o.prediction, r));
       }
       return one(best);
     },
     mean},
    {"choice_first_letter", "LLoCO's QuALITY: the first character", true, false,
     choice<metrics::ChoiceRule::first_letter>, mean},
    {"choice_leval", "L-Eval's multiple choice", true, false, choice<metrics::ChoiceRule::leval>,
     mean},
    {"choice_bamboo", "BAMBOO's multiple choice", true, false, choice<metrics::ChoiceRule::bamboo>,
     mean},
    {"choice_lenient", "the option that a free answer names", true, false,
     choice<metrics::ChoiceRule::lenient>, mean},
    {"scrolls", "SCROLLS: geometric mean of ROUGE-1/2/L", true, false, scrolls_add, scrolls_value},
    {"rouge_1", "", true, false, rouge_of<&RougeScores::rouge_1, Stemming::none>, mean},
    {"rouge_2", "", true, false, rouge_of<&RougeScores::rouge_2, Stemming::none>, mean},
    {"rouge_l", "", true, false, rouge_of<&RougeScores::rouge_l, Stemming::none>, mean},
    {"rouge_lsum", "", true, false, rouge_of<&RougeScores::rouge_lsum, Stemming::none>, mean},
    {"rouge_1_stemmed", "", true, false, rouge_of<&RougeScores::rouge_1, Stemming::porter>, mean},
    {"rouge_2_stemmed", "", true, false, rouge_of<&RougeScores::rouge_2, Stemming::porter>, mean},
    {"rouge_l_stemmed", "", true, false, rouge_of<&RougeScores::rouge_l, Stemming::porter>, mean},
    {"bleu", "sacrebleu's corpus BLEU", true, false, bleu_add, bleu_value},
    {"edit_similarity", "Indel similarity, best reference", true, false,
     [](const Outcome& o) {
       double best = 0;
       for (const std::string& r : references(o)) {
         best = std::max(best, metrics::edit_similarity(o.prediction, r));
       }
       return one(best);
     },
     mean},
    {"infinitebench_strict", "∞Bench's own scorer", true, false,
     infinitebench<metrics::infinitebench_strict>, mean},
    {"infinitebench_lenient", "ours: a right answer gets its point", true, false,
     infinitebench<metrics::infinitebench_lenient>, mean},
    {"kept_answer", "what the reader was given holds an accepted answer", true, false,
     [](const Outcome& o) { return o.kept_answer ? one(*o.kept_answer) : std::nullopt; }, mean},
    {"passage_precision", "share of the retrieved passages that hold an answer", true, false,
     [](const Outcome& o) -> Sums {
       if (o.cited == 0) {
         return std::nullopt;
       }
       return std::vector<double>{static_cast<double>(o.supporting), static_cast<double>(o.cited)};
     },
     ratio},
    {"abstention", "says that there is no answer exactly where there is none", true, false,
     [](const Outcome& o) {
       const Abstention a = abstention(o);
       return one(a.abstained == a.is_unanswerable ? 1 : 0);
     },
     mean},
    {"abstention_precision", "of its abstentions, those on unanswerable questions", true, false,
     [](const Outcome& o) -> Sums {
       const Abstention a = abstention(o);
       return std::vector<double>{a.abstained * a.is_unanswerable, a.abstained};
     },
     ratio},
    {"abstention_recall", "of the unanswerable questions, those it abstains on", true, false,
     [](const Outcome& o) -> Sums {
       const Abstention a = abstention(o);
       return std::vector<double>{a.abstained * a.is_unanswerable, a.is_unanswerable};
     },
     ratio},
    {"loss", "nats a token of the continuation", false, true,
     [](const Outcome& o) -> Sums {
       return std::vector<double>{o.nll_sum, static_cast<double>(o.tokens)};
     },
     ratio},
    {"perplexity", "of the continuation", false, true,
     [](const Outcome& o) -> Sums {
       return std::vector<double>{o.nll_sum, static_cast<double>(o.tokens)};
     },
     perplexity},
    {"bits_per_byte", "of the continuation", false, true,
     [](const Outcome& o) -> Sums {
       return std::vector<double>{o.nll_sum, static_cast<double>(o.bytes)};
     },
     bits},
};

}  // namespace

std::span<const Scorer> scorers() {
  return kScorers;
}

const Scorer& find_scorer(std::string_view name) {
  std::string known;
  for (const Scorer& scorer : kScorers) {
    if (scorer.name == name) {
      return scorer;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", scorer.name);
  }
  OB_THROW(InvalidArgument, "no metric is called {}; there are {}", printable(name), known);
}

bool is_mean(const Scorer& scorer) noexcept {
  return scorer.value == mean;
}

}  // namespace offbook::evaluate
