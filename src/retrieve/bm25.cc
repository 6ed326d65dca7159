#include "src/retrieve/bm25.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace offbook::retrieve {
namespace {

constexpr double kK1 = 1.2;
constexpr double kB = 0.75;

}  // namespace

PassageBm25::PassageBm25(std::span<const std::vector<std::string>> passages) {
  for (const std::vector<std::string>& words : passages) {
    auto& counts = counts_.emplace_back();
    for (const std::string& word : words) {
      ++counts[word];
    }
    lengths_.push_back(static_cast<double>(words.size()));
    mean_length_ += lengths_.back();
  }
  mean_length_ /= static_cast<double>(std::max<size_t>(1, passages.size()));
}

std::vector<double> PassageBm25::scores(std::span<const std::string> terms) const {
  const auto n = static_cast<double>(counts_.size());
  std::vector<double> scores(counts_.size());
  for (const std::string& term : terms) {
    const auto df =
        static_cast<double>(std::count_if(counts_.begin(), counts_.end(), [&](const auto& counts) {
          return counts.find(term) != counts.end();
        }));
    const double idf = std::log(1 + (n - df + 0.5) / (df + 0.5));
    for (size_t p = 0; p < counts_.size() && df > 0; ++p) {
      const auto at = counts_[p].find(term);
      const double times = at == counts_[p].end() ? 0 : at->second;
      const double length = lengths_[p] / std::max(mean_length_, 1.0);
      scores[p] += idf * times * (kK1 + 1) / (times + kK1 * (1 - kB + kB * length));
    }
  }
  return scores;
}

std::vector<size_t> best_first(std::span<const double> scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

}  // namespace offbook::retrieve
