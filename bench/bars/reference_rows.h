// A bar that compares our scores with reference packages, which a Python script runs.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace offbook::bars {

struct ReferenceBar {
  std::string script;               // beside the bars, e.g. "metric_parity.py"
  std::vector<std::string> inputs;  // its arguments
  int64_t least_rows = 0;           // comparisons of the rarest kind that counts; fewer: exit 1
  std::string counted;  // what is counted: "pair" rows or comparisons starting with this
};

// Runs the script, compares every row, prints a line a metric and the largest difference last.
// Flags: --quick (the script takes a sample), --sabotage (ours is broken; must end with 1). Returns
// 0 where no difference is above 1e-6, 1 where one is, 4 where data or packages are missing. The
// interpreter is $OFFBOOK_PYTHON (default python3).
int run_reference_bar(const ReferenceBar& bar, int argc, char** argv);

}  // namespace offbook::bars
