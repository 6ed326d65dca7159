// ROUGE-1/2/L/Lsum, equal to Google's rouge-score package (0.1.2), and the SCROLLS geometric mean.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::metrics {

// Each in [0, 1].
struct PrecisionRecall {
  double precision = 0;
  double recall = 0;
  double f1 = 0;
};

struct RougeScores {
  PrecisionRecall rouge_1;
  PrecisionRecall rouge_2;
  PrecisionRecall rouge_l;
  PrecisionRecall rouge_lsum;  // lines are sentences: split text before, as the papers do
};

enum class Stemming {
  none,   // SCROLLS, L-Eval, ∞Bench
  porter  // words of more than three letters (ROUGE-1.5.5's -m)
};

// Lower-case runs of [a-z0-9]; everything else separates, so text in other scripts has no tokens.
std::vector<std::string> rouge_tokens(std::string_view text, Stemming stemming);

// Empty texts score 0. Cost: |prediction|·|reference| words for ROUGE-L and Lsum (2 ms for
// two summaries of 400 words).
RougeScores rouge(std::string_view prediction, std::string_view reference,
                  Stemming stemming = Stemming::none);

// Each kind by its own best reference (highest F1, the first on ties), as score_multi does.
// InvalidArgument without a reference.
RougeScores rouge(std::string_view prediction, std::span<const std::string> references,
                  Stemming stemming = Stemming::none);

// SCROLLS and LLoCO: means of ROUGE-1/2/L F1 over the set first, then the cube root of their
// product (in [0, 1]; papers print it times 100). InvalidArgument for an empty set.
double scrolls_geometric_mean(std::span<const RougeScores> scores);

}  // namespace offbook::metrics
