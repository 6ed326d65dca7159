// Bar: our strict ∞Bench scores equal those of the repository's own scorer on its own prediction
// files, wherever that scorer ends without an exception. $OFFBOOK_INFINITEBENCH is a git clone of
// github.com/OpenBMB/InfiniteBench (bare or not).
#include "bench/bars/reference_rows.h"

#include <cstdlib>

int main(int argc, char** argv) {
  const char* clone = std::getenv("OFFBOOK_INFINITEBENCH");
  return offbook::bars::run_reference_bar(
      {.script = "infinitebench_scorers.py",
       .inputs = {"--clone", clone != nullptr ? clone : "../InfiniteBench"},
       .least_rows = 20000,
       .counted = "infinitebench"},
      argc, argv);
}
