// The six tasks of ∞Bench (arXiv 2402.13718) that are made and not collected, at any length.
#pragma once
#include "src/evaluate/generators/case.h"
#include "src/metrics/infinitebench.h"

namespace offbook::evaluate {

// passkey, number_string, kv_retrieval, code_run, math_calc, math_find.
bool is_generated(metrics::InfiniteBenchTask task);

struct InfiniteBenchSpec {
  metrics::InfiniteBenchTask task = metrics::InfiniteBenchTask::passkey;
  // What the length is made of: lines of noise, key/value pairs, numbers, operands, functions.
  int64_t units = 0;
  // Case `index` of `count`. Facts sweep the depth evenly: noise lines in front are
  // index·units/(count−1), the pair asked for is index·units/count. math_find and code_run go
  // through their kinds in turn.
  int64_t index = 0;
  int64_t count = 59;
  uint64_t seed = 0;
};

// The published sizes: 128k noise (5,220 lines, 59 places), 2,500 pairs, 4,400 functions, 60,000
// numbers, 15,000 operands (functions and operands as found in the released data).
int64_t official_units(metrics::InfiniteBenchTask task);

// The most units with which no case of the task has more than `tokens` tokens. Measured on the
// middle case of seed 0, less two in a hundred for tasks whose cases vary in length.
int64_t fitting_units(metrics::InfiniteBenchTask task, int64_t tokens, const TokenCount& count);

// InvalidArgument for a task that is not generated, an index outside [0, count), or too few units
// (10 functions, 20 numbers, 2 pairs or operands). label: text for passkey, number_string and
// kv_retrieval, a number (median: a fraction) for math_find and code_run, the list of values for
// math_calc.
GeneratedCase make_infinitebench(const InfiniteBenchSpec& spec, const TokenCount& count);

// What func_<name>(x) gives in a code_run context: an interpreter of exactly those functions.
// Corrupt for other text, a function that is not there, or a circle.
int64_t run_functions(std::string_view code, int64_t name, int64_t x);

}  // namespace offbook::evaluate
