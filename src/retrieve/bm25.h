// BM25 of passages held in memory (a corpus on disk has SQLite's).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace offbook::retrieve {

// k1 1.2, b 0.75, idf = ln(1 + (n − df + 0.5) / (df + 0.5)), as SQLite's FTS5 has them but for the
// idf, which is never negative here. Immutable: any number of threads may ask.
class PassageBm25 {
 public:
  // The words of each passage, folded and stemmed as the caller sees fit.
  explicit PassageBm25(std::span<const std::vector<std::string>> passages);

  // A score a passage; a term that stands twice counts twice. O(terms × passages).
  std::vector<double> scores(std::span<const std::string> terms) const;

 private:
  std::vector<std::unordered_map<std::string, int32_t>> counts_;  // by passage
  std::vector<double> lengths_;                                   // in words
  double mean_length_ = 0;
};

// Indices by falling score; equal scores in their order.
std::vector<size_t> best_first(std::span<const double> scores);

}  // namespace offbook::retrieve
