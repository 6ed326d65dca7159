// Rank correlation, for fidelity against answer quality and for agreement between scores.
#pragma once
#include <span>
#include <vector>

namespace offbook::metrics {

// Ranks from 1; equal values share the mean of their ranks. InvalidArgument for a NaN.
std::vector<double> mean_ranks(std::span<const double> values);

// Spearman's rho in [-1, 1]: Pearson correlation of the mean ranks (scipy.stats.spearmanr).
// InvalidArgument for different lengths, fewer than two pairs, a NaN, or a side without variation.
double spearman(std::span<const double> x, std::span<const double> y);

}  // namespace offbook::metrics
