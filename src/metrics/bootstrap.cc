#include "src/metrics/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <random>

#include "src/base/error.h"

namespace offbook::metrics {
namespace {

// P(T ≤ t) of Student's t with a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3,
// 26.7.4), t ≥ 0.
double student_cdf(double t, int freedom) {
  const double angle = std::atan(t / std::sqrt(freedom));
  const double cos_2 = std::cos(angle) * std::cos(angle);
  const bool is_odd = freedom % 2 == 1;
  double term = is_odd ? std::cos(angle) : 1;
  double sum = freedom == 1 ? 0 : term;
  for (int k = is_odd ? 3 : 2; k < freedom - 1; k += 2) {
    term *= cos_2 * (k - 1) / k;
    sum += term;
  }
  const double inside =
      is_odd ? (angle + std::sin(angle) * sum) * 2 / std::numbers::pi : std::sin(angle) * sum;
  return 0.5 + inside / 2;
}

double student_quantile(double probability, int freedom) {
  double low = 0;
  double high = 1;
  while (student_cdf(high, freedom) < probability) {
    high *= 2;
  }
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (student_cdf(middle, freedom) < probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

// Which percentile of the resamples to take as the lower end. Resampling n documents underestimates
// the variance, by `inflation` (n / (n − 1) for documents of equal weight), and knows nothing of
// its own uncertainty; both are put right at once.
double tail_probability(double confidence, double documents, double inflation) {
  constexpr double kLargeEnough = 20000;  // the level then differs by less than 1e-4
  const double tail = (1 - confidence) / 2;
  if (documents > kLargeEnough) {
    return tail;
  }
  const double n = std::max(documents, 2.0);
  const double t = student_quantile(1 - tail, static_cast<int>(std::lround(n)) - 1);
  return std::erfc(t * std::sqrt(inflation) / std::numbers::sqrt2) / 2;
}

// Documents of equal weight that would tell as much: the long ones count for more of the mean.
double effective_documents(std::span<const DocumentScores> scores) {
  double sum = 0, squares = 0;
  for (const DocumentScores& document : scores) {
    const auto weight = static_cast<double>(document.questions);
    sum += weight;
    squares += weight * weight;
  }
  return sum * sum / squares;
}

// How much larger the variance is when each document is judged by the mean of the others: a long
// document draws the mean towards itself, which resampling does not see (the jackknife's
// correction, HC3 of regression).
double variance_inflation(std::span<const DocumentScores> scores) {
  double sum = 0, questions = 0;
  for (const DocumentScores& document : scores) {
    sum += document.sum;
    questions += static_cast<double>(document.questions);
  }
  double plain = 0, apart = 0;
  for (const DocumentScores& document : scores) {
    const auto weight = static_cast<double>(document.questions);
    const double influence = document.sum - sum / questions * weight;
    const double alone = influence / (1 - weight / questions);
    plain += influence * influence;
    apart += alone * alone;
  }
  return plain > 0 ? apart / plain : 1;
}

// Linear interpolation between order statistics (numpy's default).
double percentile(const std::vector<double>& sorted, double probability) {
  const double place = probability * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

void check(size_t documents, const BootstrapOptions& options) {
  OB_REQUIRE(documents >= 2 && documents <= UINT32_MAX, InvalidArgument,
             "bootstrap: at least 2 documents wanted, {} came", documents);
  OB_REQUIRE(options.resamples >= 100, InvalidArgument,
             "bootstrap: at least 100 resamples wanted, {} came", options.resamples);
  OB_REQUIRE(options.confidence > 0 && options.confidence < 1, InvalidArgument,
             "bootstrap: a confidence between 0 and 1 wanted, {} came", options.confidence);
}

// Fills `picks` with document numbers; one 64-bit draw gives two (multiply-shift: the bias of
// n / 2^32 is far below what any number of resamples could show). std::uniform_int_distribution
// would give other numbers with another standard library.
void draw(std::mt19937_64& random, std::vector<uint32_t>& picks) {
  const uint64_t n = picks.size();
  for (size_t i = 0; i < picks.size(); i += 2) {
    const uint64_t bits = random();
    picks[i] = static_cast<uint32_t>(((bits & 0xFFFFFFFF) * n) >> 32);
    if (i + 1 < picks.size()) {
      picks[i + 1] = static_cast<uint32_t>(((bits >> 32) * n) >> 32);
    }
  }
}

// What an interval must know of documents that count differently.
struct Weights {
  double effective = 0;  // documents of equal weight
  double inflation = 1;  // of the variance
};

template <typename Statistic>
Interval resample(size_t documents, const Weights& weights, const Statistic& statistic,
                  const BootstrapOptions& options) {
  std::vector<uint32_t> picks(documents);
  std::iota(picks.begin(), picks.end(), 0u);
  Interval interval;
  interval.documents = static_cast<int64_t>(documents);
  interval.estimate = statistic(std::span<const uint32_t>(picks));
  std::mt19937_64 random(options.seed);
  std::vector<double> values(static_cast<size_t>(options.resamples));
  for (double& value : values) {
    draw(random, picks);
    value = statistic(std::span<const uint32_t>(picks));
    OB_REQUIRE(std::isfinite(value), InvalidArgument,
               "bootstrap: a finite statistic wanted, {} came", value);
  }
  std::sort(values.begin(), values.end());
  const double tail = tail_probability(options.confidence, weights.effective, weights.inflation);
  interval.low = percentile(values, tail);
  interval.high = percentile(values, 1 - tail);
  return interval;
}

}  // namespace

std::vector<DocumentScores> gather_by_document(std::span<const std::string> document_ids,
                                               std::span<const double> scores) {
  OB_REQUIRE(document_ids.size() == scores.size(), InvalidArgument,
             "scores by document: as many documents as scores wanted, {} and {} came",
             document_ids.size(), scores.size());
  std::map<std::string_view, DocumentScores> documents;
  for (size_t i = 0; i < scores.size(); ++i) {
    OB_REQUIRE(std::isfinite(scores[i]), InvalidArgument,
               "scores by document: a finite score wanted, {} came for a question of '{}'",
               scores[i], document_ids[i]);
    DocumentScores& document = documents[document_ids[i]];
    document.sum += scores[i];
    ++document.questions;
  }
  std::vector<DocumentScores> out;
  for (auto& [id, document] : documents) {
    document.id = id;
    out.push_back(std::move(document));
  }
  return out;
}

Interval bootstrap_mean(std::span<const DocumentScores> scores, const BootstrapOptions& options) {
  check(scores.size(), options);
  for (const DocumentScores& document : scores) {
    OB_REQUIRE(document.questions > 0, InvalidArgument,
               "bootstrap: documents with questions wanted, '{}' has {}", document.id,
               document.questions);
  }
  const auto mean = [&](std::span<const uint32_t> picks) {
    double sum = 0;
    int64_t questions = 0;
    for (const uint32_t pick : picks) {
      sum += scores[pick].sum;
      questions += scores[pick].questions;
    }
    return sum / static_cast<double>(questions);
  };
  Interval interval =
      resample(scores.size(),
               {.effective = effective_documents(scores), .inflation = variance_inflation(scores)},
               mean, options);
  for (const DocumentScores& document : scores) {
    interval.questions += document.questions;
  }
  return interval;
}

Interval bootstrap_difference(std::span<const DocumentScores> ours,
                              std::span<const DocumentScores> baseline,
                              const BootstrapOptions& options) {
  OB_REQUIRE(ours.size() == baseline.size(), InvalidArgument,
             "paired bootstrap: the same documents wanted, {} and {} came", ours.size(),
             baseline.size());
  std::vector<DocumentScores> differences(ours.begin(), ours.end());
  for (size_t i = 0; i < ours.size(); ++i) {
    OB_REQUIRE(
        ours[i].id == baseline[i].id && ours[i].questions == baseline[i].questions, InvalidArgument,
        "paired bootstrap: '{}' with {} questions wanted from the baseline, '{}' with {} came",
        ours[i].id, ours[i].questions, baseline[i].id, baseline[i].questions);
    differences[i].sum -= baseline[i].sum;
  }
  return bootstrap_mean(differences, options);
}

Interval bootstrap_statistic(size_t documents, const ResampleStatistic& statistic,
                             const BootstrapOptions& options) {
  check(documents, options);
  const auto n = static_cast<double>(documents);
  return resample(documents, {.effective = n, .inflation = n / (n - 1)}, statistic, options);
}

}  // namespace offbook::metrics
