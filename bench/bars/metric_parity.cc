// Bar: every metric equals its reference package (rouge-score, sacrebleu, rapidfuzz, the SQuAD and
// SCROLLS scripts' logic) on ≥ 5,000 real pairs of prediction and references, Unicode and empty
// texts included; largest difference ≤ 1e-6. Data: $OFFBOOK_DATA/data (default ../shared).
#include "bench/bars/reference_rows.h"

#include <cstdlib>

int main(int argc, char** argv) {
  const char* data = std::getenv("OFFBOOK_DATA");
  return offbook::bars::run_reference_bar(
      {.script = "metric_parity.py",
       .inputs = {"--data", std::string(data != nullptr ? data : "../shared") + "/data"},
       .least_rows = 5000,
       .counted = "pair"},
      argc, argv);
}
