// Bar: 200 seeded power cuts (each seed cuts a run twice) on a file system that drops or reorders
// what was not synced: nothing reported done is missing, the corpus opens and is sound, and the
// finished run equals an undisturbed one as an ordered dump. Sabotaged, the disk forgets synced
// bytes too.
#include "bench/bars/bar.h"
#include "tests/fault/store_work.h"

#include <cstdio>

#include "src/base/error.h"

int main(int argc, char** argv) {
  using namespace offbook;
  const bars::Options options = bars::parse(argc, argv);
  try {
    const std::string expected = store::undisturbed();
    const int seeds = options.quick ? 40 : 200;
    int failures = 0;
    for (int seed = 0; seed < seeds; ++seed) {
      const std::string failure =
          store::power_cut_failure(static_cast<uint64_t>(seed), expected, options.sabotage);
      if (!failure.empty() && ++failures <= 5) {
        std::printf("seed %d: %s\n", seed, failure.c_str());
      }
    }
    std::printf("power_cuts: %d of %d seeds failed (bar 0)\n", failures, seeds);
    return failures == 0 ? bars::kHolds : bars::kShort;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
