#include "src/compress/selective_context/select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "src/base/error.h"

namespace offbook::compress {
namespace {

// numpy's _lerp: from the nearer end, so that both ends are met exactly.
double interpolate(double a, double b, double t) {
  const double difference = b - a;
  return t >= 0.5 ? b - difference * (1 - t) : a + difference * t;
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// The span without parts of characters at its ends.
ByteSpan whole_characters(std::string_view text, ByteSpan span) {
  while (span.begin < span.end && is_continuation(text[span.begin])) {
    ++span.begin;
  }
  while (span.begin < span.end && span.end < text.size() && is_continuation(text[span.end])) {
    --span.end;
  }
  return span;
}

}  // namespace

double percentile(std::span<const double> values, double p) {
  std::vector<double> sorted;
  std::copy_if(values.begin(), values.end(), std::back_inserter(sorted),
               [](double v) { return !std::isnan(v); });
  if (sorted.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::sort(sorted.begin(), sorted.end());
  const double at = static_cast<double>(sorted.size() - 1) * (p / 100);
  const double low = std::floor(at);
  const auto i = static_cast<size_t>(low);
  return interpolate(sorted[i], sorted[std::min(i + 1, sorted.size() - 1)], at - low);
}

std::vector<bool> keep_by_percentile(std::span<const Unit> units, double ratio) {
  OB_REQUIRE(ratio >= 0 && ratio <= 1, InvalidArgument,
             "a share of units to drop lies in [0, 1], not {}", ratio);
  std::vector<double> values(units.size());
  std::transform(units.begin(), units.end(), values.begin(),
                 [](const Unit& u) { return u.information; });
  const double threshold = percentile(values, ratio * 100);
  std::vector<bool> keep(units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    keep[i] = !(values[i] < threshold);
  }
  return keep;
}

std::vector<bool> keep_by_tokens(std::string_view collapsed, std::span<const Unit> units,
                                 int64_t budget, const TokenCount& count) {
  std::vector<size_t> order(units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto rank = [&](size_t i) {
    return std::isnan(units[i].information) ? std::numeric_limits<double>::infinity()
                                            : units[i].information;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank(a) > rank(b); });
  const auto first = [&](size_t n) {
    std::vector<bool> keep(units.size(), false);
    for (size_t i = 0; i < n; ++i) {
      keep[order[i]] = true;
    }
    return keep;
  };
  const auto fits = [&](size_t n) {
    return count(join_units(collapsed, units, first(n)).text) <= budget;
  };
  size_t low = 0;  // fits: nothing is kept
  size_t high = units.size() + 1;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return first(low);
}

KeptUnits join_units(std::string_view collapsed, std::span<const Unit> units,
                     const std::vector<bool>& keep) {
  OB_CHECK(units.size() == keep.size());
  std::vector<ByteSpan> runs;
  for (size_t i = 0; i < units.size(); ++i) {
    const ByteSpan& span = units[i].span;
    if (!keep[i] || span.begin == span.end) {
      continue;
    }
    if (!runs.empty() && runs.back().end == span.begin) {
      runs.back().end = span.end;
    } else {
      runs.push_back(span);
    }
  }
  KeptUnits out;
  for (ByteSpan span : runs) {
    span = whole_characters(collapsed, span);
    if (out.text.empty() && span.begin < span.end && collapsed[span.begin] == ' ') {
      ++span.begin;
    }
    if (span.begin < span.end) {
      out.text += collapsed.substr(span.begin, span.end - span.begin);
      out.spans.push_back(span);
    }
  }
  return out;
}

}  // namespace offbook::compress
