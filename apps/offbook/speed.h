// How fast the engine is on this machine, and how near to its limits.
#pragma once
#include "apps/offbook/engines.h"

#include <string>
#include <vector>

namespace offbook::app {

// A median of several runs.
struct Speed {
  std::string name;      // "prefill 512"
  double rate = 0;       // per second
  std::string unit;      // of the rate: "tokens/s"
  double gflops = 0;     // GFLOP/s of matrix products and attention; 0: not counted
  double gigabytes = 0;  // GB/s of weights and cache read; 0: not counted
  double spread = 0;     // (slowest − fastest) / median
};

struct SpeedOptions {
  int runs = 5;                   // of every figure
  std::vector<std::string> only;  // names that begin so; empty: all
  // Decoders also with the file's weights in place of packed ones, in turn.
  bool has_file_weights = false;
};

// Measures one after another and hands each to `on_speed`. Greedy decoding of made-up tokens: speed
// does not depend on which tokens they are.
void measure_speeds(Engines& engines, const SpeedOptions& options,
                    const std::function<void(const Speed&)>& on_speed);

}  // namespace offbook::app
