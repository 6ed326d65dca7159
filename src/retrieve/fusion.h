// Several rankings → one.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace offbook::retrieve {

struct Fused {
  int64_t id = 0;
  double score = 0;
  std::vector<std::optional<int>> ranks;  // in each ranking, from 1
};

// docs/decisions/0013-the-constant-of-rank-fusion.md.
inline constexpr double kFusionConstant = 3;

// Reciprocal rank fusion: the sum over rankings of weight / (k + rank); best first, equal scores by
// the best single rank, then by id. `weights` has one number a ranking. Cormack, Clarke and
// Büttcher, SIGIR 2009; k = 60 is theirs.
std::vector<Fused> reciprocal_rank_fusion(std::span<const std::vector<int64_t>> rankings,
                                          std::span<const double> weights,
                                          double k = kFusionConstant);

}  // namespace offbook::retrieve
