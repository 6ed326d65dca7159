// A sentence hidden in a long text, as LLoCO's evaluation does it (arXiv 2404.07979, section 4.4).
#pragma once
#include "src/evaluate/generators/case.h"

namespace offbook::evaluate {

enum class NeedleKind : uint8_t {
  fixed,   // always the same sentence about a person's favourite designer
  random,  // a "magic city", drawn per case
};

struct NeedleSpec {
  NeedleKind kind = NeedleKind::random;
  int64_t tokens =
      1000;  // of context and question, with `reserved` left free for prompt and answer
  int64_t reserved = 180;
  double depth = 0;  // 0…1: share of the context's tokens in front, set back to the line end before
  bool for_training = false;  // cities no evaluation uses
  uint64_t seed = 0;
  int64_t index = 0;
};

// `haystack` is read from its beginning, and again when it is too short. The needle's wording is
// ours: the paper's question and script are not public. InvalidArgument for an empty haystack, a
// depth outside [0, 1], or a length that leaves no room. About 40 counts of texts of that length.
GeneratedCase make_needle(const NeedleSpec& spec, std::string_view haystack,
                          const TokenCount& count);

// `n` lengths (or depths) at equal distances, both ends included; 10 of 1,000…32,000 and of 0…1 are
// the paper's grid.
std::vector<double> even_grid(double first, double last, int n);

}  // namespace offbook::evaluate
