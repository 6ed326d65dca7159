// BLEU, equal to sacrebleu 2 (13a tokenizer, exp smoothing, case kept).
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offbook::metrics {

// What BLEU is computed from; sums over segments give the corpus.
struct BleuCounts {
  std::array<int64_t, 4> correct{};  // clipped n-gram matches, n = 1…4
  std::array<int64_t, 4> total{};
  int64_t prediction_tokens = 0;
  int64_t reference_tokens = 0;  // of the reference closest in length, the shorter on ties
  BleuCounts& operator+=(const BleuCounts& other);
};

enum class BleuOrder {
  full,      // all four n-gram orders: corpus_bleu
  effective  // only the orders that the prediction is long enough for: sentence_bleu
};

// mteval-v13a's tokens, joined by single spaces.
std::string tokenize_13a(std::string_view text);

// InvalidArgument without a reference. Cost: linear.
BleuCounts bleu_counts(std::string_view prediction, std::span<const std::string> references);

// In [0, 100], as every paper prints it. A text without any common word scores 0.
double bleu(const BleuCounts& counts, BleuOrder order);

// One segment, effective order.
double sentence_bleu(std::string_view prediction, std::span<const std::string> references);

}  // namespace offbook::metrics
