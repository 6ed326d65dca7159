// Compares our scores with those of the reference packages, row by row. Used by the unit test on
// the small fixture (tests/golden/metrics) and by bench/bars on thousands of real pairs; not part
// of the product.
#pragma once
#include <cstdint>
#include <istream>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/metrics/bleu.h"
#include "src/metrics/rouge.h"

namespace offbook::metrics {

struct ReferenceDifference {
  int64_t compared = 0;
  double largest = 0;  // |ours − reference|, on the reference's own scale (BLEU: 0…100)
  std::string worst;   // the row that it came from
};

class ReferenceCheck {
 public:
  // What a broken scorer would look like: the stemmer is left out where it is wanted, and strict
  // ∞Bench scores are computed by the lenient rules.
  enum class Product { as_it_is, broken };
  explicit ReferenceCheck(Product product = Product::as_it_is) : product_(product) {}

  // One row per line, as tools/golden/metrics.py writes them. Corrupt names the line.
  void read(std::istream& lines, const std::string& name);

  const std::map<std::string, ReferenceDifference>& differences() const { return differences_; }
  int64_t pairs() const { return pairs_; }

 private:
  struct Set {
    BleuCounts bleu;
    std::vector<RougeScores> rouge;
  };
  using Scores = std::map<std::string, double>;

  void row(const nlohmann::json& row);
  void pair(const nlohmann::json& row);
  void whole_set(const nlohmann::json& row);
  void infinitebench(const nlohmann::json& row);
  void choice(const nlohmann::json& row);
  void unicode(const nlohmann::json& row);
  void stems(const nlohmann::json& row);
  void compare(const std::string& metric, double ours, double reference, const std::string& what);

  Product product_;
  std::vector<std::string> names_;  // of the scores in pair rows
  std::map<std::string, Set> sets_;
  std::map<std::string, ReferenceDifference> differences_;
  int64_t pairs_ = 0;
};

}  // namespace offbook::metrics
