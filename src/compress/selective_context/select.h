// Which units are kept: those above a percentile of all units' values, or as many as fit a number
// of tokens.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/compress/selective_context/units.h"

namespace offbook::compress {

// The p-th percentile (p in [0, 100]) of the values that are not NaN, with linear interpolation
// between neighbours: numpy's nanpercentile bit by bit. NaN for no values. O(n log n).
double percentile(std::span<const double> values, double p);

// keep[i] is false exactly where the value lies below the percentile 100·`ratio` (the share of
// *units* to drop, the paper's p; not of tokens). InvalidArgument unless 0 ≤ ratio ≤ 1.
std::vector<bool> keep_by_percentile(std::span<const Unit> units, double ratio);

// Tokens of a text, as the reader of the compressed text counts them.
using TokenCount = std::function<int64_t(std::string_view)>;

// The most units by falling value (equal values in order, NaN first) whose text counts at most
// `budget` tokens: exact in tokens, where the percentile is exact in units. Counts O(log n) texts.
std::vector<bool> keep_by_tokens(std::string_view collapsed, std::span<const Unit> units,
                                 int64_t budget, const TokenCount& count);

struct KeptUnits {
  std::string text;
  std::vector<ByteSpan> spans;  // of the collapsed text; neighbours joined
};

// The kept units in order. They carry the space before them; one in front of all is dropped, and a
// character of which only some tokens are kept is left out, so that the text stays UTF-8.
KeptUnits join_units(std::string_view collapsed, std::span<const Unit> units,
                     const std::vector<bool>& keep);

}  // namespace offbook::compress
