// What the strict and the lenient scorers of ∞Bench share. Internal to src/metrics.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/metrics/infinitebench.h"

namespace offbook::metrics::internal {

// The label's values as texts; InvalidArgument naming the task where one is a number.
std::vector<std::string> text_labels(InfiniteBenchTask task, const InfiniteBenchLabel& label);

// The whole number a decimal text stands for, as int(): a sign, digits of any script, single
// underscores between them. Nothing where it is no such text or beyond 64 bits.
std::optional<int64_t> python_int(std::string_view text);

// Runs of ASCII digits, in order.
std::vector<std::string_view> digit_runs(std::string_view text);

// The text without ASCII and Chinese punctuation and white space, lower case.
std::u32string chinese_characters(std::string_view text);

// Share of the label's numbers that `runs` begins with; leading zeros do not matter.
double right_prefix(std::span<const std::string_view> runs, const InfiniteBenchLabel& label);

}  // namespace offbook::metrics::internal
