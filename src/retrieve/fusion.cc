#include "src/retrieve/fusion.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "src/base/error.h"

namespace offbook::retrieve {
namespace {

int best_rank(const Fused& f) {
  int best = std::numeric_limits<int>::max();
  for (const auto& rank : f.ranks) {
    best = std::min(best, rank.value_or(best));
  }
  return best;
}

}  // namespace

std::vector<Fused> reciprocal_rank_fusion(std::span<const std::vector<int64_t>> rankings,
                                          std::span<const double> weights, double k) {
  OB_REQUIRE(rankings.size() == weights.size(), InvalidArgument,
             "{} rankings need as many weights, not {}", rankings.size(), weights.size());
  std::vector<Fused> fused;
  std::unordered_map<int64_t, size_t> place;
  for (size_t r = 0; r < rankings.size(); ++r) {
    for (size_t i = 0; i < rankings[r].size(); ++i) {
      const auto [it, is_new] = place.try_emplace(rankings[r][i], fused.size());
      if (is_new) {
        fused.push_back({.id = rankings[r][i], .ranks = {}});
        fused.back().ranks.resize(rankings.size());
      }
      Fused& f = fused[it->second];
      f.ranks[r] = static_cast<int>(i) + 1;
      f.score += weights[r] / (k + static_cast<double>(i) + 1);
    }
  }
  std::sort(fused.begin(), fused.end(), [](const Fused& a, const Fused& b) {
    if (a.score != b.score) {
      return a.score > b.score;
    }
    const int rank_a = best_rank(a), rank_b = best_rank(b);
    return rank_a != rank_b ? rank_a < rank_b : a.id < b.id;
  });
  return fused;
}

}  // namespace offbook::retrieve
