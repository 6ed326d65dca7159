// What a generator of test cases makes, and what all generators share.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/random.h"

namespace offbook::evaluate {

// Tokens of a text, as the model that reads the case counts them.
using TokenCount = std::function<int64_t(std::string_view)>;

struct GeneratedCase {
  std::string task;
  std::string example;  // a worked case of the same kind to stand before this one; often empty
  std::string context;
  std::string question;
  std::string answer_stem;           // how an answer begins, for models without chat format
  std::vector<std::string> answers;  // all of them wanted if `wants_all`, else any
  bool wants_all = false;
  nlohmann::json label;  // for scorers that tell the text "4" from the number 4
  double depth = -1;     // where the (first) fact stands, as a share of the context; −1: nowhere
  int64_t length = 0;    // tokens of example, context and question together
};

// Cases of a set differ by index; the same seed and index make the same case on every machine.
Random case_random(uint64_t seed, std::string_view task, int64_t index);

// The largest n in [least, most] for which fits(n), by bisection; fits must not rise again once it
// fell. InvalidArgument, saying `what` is too short, when even `least` does not fit. O(log most)
// calls.
int64_t largest_fitting(int64_t least, int64_t most, std::string_view what,
                        const std::function<bool(int64_t)>& fits);

// Sets `length`.
void measure(GeneratedCase& c, const TokenCount& count);

// `n` different numbers below `bound` in rising order. n ≤ bound.
std::vector<int64_t> sample_sorted(Random& random, int64_t bound, int64_t n);

template <typename T>
void shuffle(Random& random, std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[random.below(i)]);
  }
}

std::string random_digits(Random& random, int n);               // leading zeros are digits too
std::string random_uuid(Random& random);                        // version 4, lower case
std::string random_letters(Random& random, int n, char first);  // of 26 from `first`

}  // namespace offbook::evaluate
