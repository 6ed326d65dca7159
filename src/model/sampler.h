// From logits to a token.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/base/random.h"

namespace offbook::model {

struct SamplingOptions {
  float temperature = 0;         // 0: greedy
  int32_t top_k = 0;             // 0: all
  float top_p = 1;               // smallest set of likeliest tokens with this mass; 1: all
  float min_p = 0;               // tokens below min_p × the likeliest are dropped
  float repetition_penalty = 1;  // > 1 makes tokens of the recent context less likely (arXiv 1909.05858)
  int32_t repetition_window = 64;
  uint64_t seed = 0;
};

// InvalidArgument naming the field and its range.
void validate(const SamplingOptions& options);

// Draws one token at a time; the same seed and logits give the same tokens everywhere. Filters apply in
// the order repetition, temperature, top-k, top-p, min-p. Keeps its memory between calls. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // `recent`: the tokens so far, newest last, of which the last repetition_window count.
  // NaN logits count as −∞; if all are, InvalidArgument.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> recent);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void penalise(std::span<const int32_t> recent);
  int32_t draw();

  SamplingOptions options_;
  Random random_;
  std::vector<Candidate> candidates_;
};

}  // namespace offbook::model
