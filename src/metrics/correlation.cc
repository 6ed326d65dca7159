#include "src/metrics/correlation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/base/error.h"

namespace offbook::metrics {

std::vector<double> mean_ranks(std::span<const double> values) {
  for (const double value : values) {
    OB_REQUIRE(!std::isnan(value), InvalidArgument, "ranks: numbers wanted, a NaN came");
  }
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) {
      ++end;
    }
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + 1 + end) / 2;
    }
    begin = end;
  }
  return ranks;
}

double spearman(std::span<const double> x, std::span<const double> y) {
  OB_REQUIRE(x.size() == y.size() && x.size() >= 2, InvalidArgument,
             "Spearman: two lists of the same length ≥ 2 wanted, {} and {} values came", x.size(),
             y.size());
  const auto a = mean_ranks(x);
  const auto b = mean_ranks(y);
  const double middle = static_cast<double>(x.size() + 1) / 2;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - middle) * (b[i] - middle);
    aa += (a[i] - middle) * (a[i] - middle);
    bb += (b[i] - middle) * (b[i] - middle);
  }
  OB_REQUIRE(aa > 0 && bb > 0, InvalidArgument,
             "Spearman: values that differ wanted, one side is constant");
  return ab / std::sqrt(aa * bb);
}

}  // namespace offbook::metrics
