#include "src/compress/quito/words.h"

#include <algorithm>
#include <cmath>

#include "src/base/error.h"

namespace offbook::compress {
namespace {

bool is_one_space(std::string_view text, const ByteSpan& span) {
  return span.end - span.begin == 1 && text[span.begin] == ' ';
}

// Index into a line of n samples that is mirrored at its ends, each end sample repeated.
size_t mirrored(int64_t at, int64_t n) {
  const int64_t period = 2 * n;
  at = ((at % period) + period) % period;
  return static_cast<size_t>(at < n ? at : period - 1 - at);
}

}  // namespace

std::vector<Word> merge_words(std::string_view text, std::span<const ByteSpan> spans,
                              std::span<const double> weights) {
  OB_CHECK(spans.size() == weights.size());
  std::vector<Word> words;
  for (size_t i = 0; i < spans.size(); ++i) {
    OB_CHECK(spans[i].begin <= spans[i].end && spans[i].end <= text.size());
    const bool begins =
        words.empty() || (spans[i].begin < spans[i].end && text[spans[i].begin] == ' ');
    if (begins && (words.empty() || !is_one_space(text, words.back().span))) {
      const bool has_space = spans[i].begin < spans[i].end && text[spans[i].begin] == ' ';
      words.push_back({spans[i], weights[i], 1, words.empty() && !has_space ? 2 : 1});
      continue;
    }
    Word& word = words.back();
    // The space before a space is not scored: the published program drops it.
    word.score = begins ? weights[i] : std::max(word.score, weights[i]);
    word.span.end = std::max(word.span.end, spans[i].end);
    ++word.tokens;
    word.published_tokens = begins ? 1 : word.published_tokens + 1;
  }
  if (!words.empty() && is_one_space(text, words.back().span)) {
    words.pop_back();
  }
  return words;
}

void softmax(std::vector<double>& weights) {
  if (weights.empty()) {
    return;
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& w : weights) {
    w = std::exp(w - largest);
    sum += w;
  }
  for (double& w : weights) {
    w /= sum;
  }
}

std::vector<double> gaussian_smooth(std::span<const double> values, double sigma) {
  OB_REQUIRE(sigma >= 0 && sigma <= 100, InvalidArgument, "smoothing over {} words: 0 to 100",
             sigma);
  if (sigma == 0 || values.empty()) {
    return {values.begin(), values.end()};
  }
  const auto radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> kernel(static_cast<size_t>(radius) + 1);
  double sum = 0;
  for (int64_t k = 0; k <= radius; ++k) {
    kernel[static_cast<size_t>(k)] = std::exp(-0.5 / (sigma * sigma) * static_cast<double>(k * k));
    sum += (k == 0 ? 1 : 2) * kernel[static_cast<size_t>(k)];
  }
  const auto n = static_cast<int64_t>(values.size());
  std::vector<double> out(values.size());
  for (int64_t i = 0; i < n; ++i) {
    // From the far taps inwards, in pairs, as scipy adds them: ties stay ties.
    const bool is_inside = i >= radius && i + radius < n;
    double total = values[static_cast<size_t>(i)] * (kernel[0] / sum);
    for (int64_t k = radius; k > 0; --k) {
      const size_t left = is_inside ? static_cast<size_t>(i - k) : mirrored(i - k, n);
      const size_t right = is_inside ? static_cast<size_t>(i + k) : mirrored(i + k, n);
      total += (values[left] + values[right]) * (kernel[static_cast<size_t>(k)] / sum);
    }
    out[static_cast<size_t>(i)] = total;
  }
  return out;
}

std::vector<int32_t> sentence_ends(std::string_view text, std::span<const Word> words,
                                   std::span<const ByteSpan> sentences) {
  std::vector<int32_t> ends;
  size_t word = 0;
  for (const ByteSpan& sentence : sentences) {
    const size_t first = word;
    while (word < words.size()) {
      // The first byte of the word itself.
      const size_t begin = std::min<size_t>(text.find_first_not_of(' ', words[word].span.begin),
                                            words[word].span.end);
      if (begin >= sentence.end) {
        break;
      }
      ++word;
    }
    if (word > first) {
      ends.push_back(static_cast<int32_t>(word));
    }
  }
  if (word < words.size()) {
    ends.push_back(static_cast<int32_t>(words.size()));
  }
  return ends;
}

}  // namespace offbook::compress
