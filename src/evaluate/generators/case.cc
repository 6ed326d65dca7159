#include "src/evaluate/generators/case.h"

#include <set>

#include "src/base/error.h"

namespace offbook::evaluate {

Random case_random(uint64_t seed, std::string_view task, int64_t index) {
  // FNV-1a over the name, then splitmix twice: neighbouring indices must not share streams.
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : task) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  }
  Random mix(seed ^ hash);
  return Random(mix.bits() ^ Random(static_cast<uint64_t>(index)).bits());
}

int64_t largest_fitting(int64_t least, int64_t most, std::string_view what,
                        const std::function<bool(int64_t)>& fits) {
  OB_REQUIRE(least <= most && fits(least), InvalidArgument,
             "a {} case does not fit its length even with {} units", what, least);
  // Doubling first: counting tokens costs time, and most lengths are far below `most`.
  int64_t low = least;
  int64_t high = most + 1;
  while (low * 2 + 1 < high && low > 0) {
    if (!fits(low * 2)) {
      high = low * 2;
      break;
    }
    low *= 2;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

void measure(GeneratedCase& c, const TokenCount& count) {
  c.length = count(c.example) + count(c.context) + count(c.question);
}

std::vector<int64_t> sample_sorted(Random& random, int64_t bound, int64_t n) {
  OB_REQUIRE(n <= bound, InvalidArgument, "{} different places of {}", n, bound);
  // Floyd's: every subset is equally likely, without a list of all numbers.
  std::set<int64_t> chosen;
  for (int64_t top = bound - n; top < bound; ++top) {
    const auto pick = static_cast<int64_t>(random.below(static_cast<uint64_t>(top) + 1));
    chosen.insert(chosen.count(pick) != 0 ? top : pick);
  }
  return {chosen.begin(), chosen.end()};
}

std::string random_digits(Random& random, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    out.push_back(static_cast<char>('0' + random.below(10)));
  }
  return out;
}

std::string random_uuid(Random& random) {
  const uint64_t a = random.bits();
  const uint64_t b = random.bits();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xfff,
                     ((b >> 48) & 0x3fff) | 0x8000, b & 0xffffffffffffull);
}

std::string random_letters(Random& random, int n, char first) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    out.push_back(static_cast<char>(first + static_cast<char>(random.below(26))));
  }
  return out;
}

}  // namespace offbook::evaluate
