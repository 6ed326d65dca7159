#include "src/model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/base/error.h"

namespace offbook::model {

void validate(const SamplingOptions& o) {
  OB_REQUIRE(o.temperature >= 0 && o.temperature <= 100, InvalidArgument, "temperature is in [0, 100], not {}",
             o.temperature);
  OB_REQUIRE(o.top_k >= 0, InvalidArgument, "top_k is 0 (all) or more, not {}", o.top_k);
  OB_REQUIRE(o.top_p > 0 && o.top_p <= 1, InvalidArgument, "top_p is in (0, 1], not {}", o.top_p);
  OB_REQUIRE(o.min_p >= 0 && o.min_p <= 1, InvalidArgument, "min_p is in [0, 1], not {}", o.min_p);
  OB_REQUIRE(o.repetition_penalty >= 0.1f && o.repetition_penalty <= 10, InvalidArgument,
             "repetition_penalty is in [0.1, 10], not {}", o.repetition_penalty);
  OB_REQUIRE(o.repetition_window >= 0, InvalidArgument, "repetition_window is 0 or more, not {}", o.repetition_window);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) { validate(options); }

void Sampler::penalise(std::span<const int32_t> recent) {
  if (options_.repetition_penalty == 1) {
    return;
  }
  const auto window = static_cast<size_t>(options_.repetition_window);
  if (recent.size() > window) {
    recent = recent.last(window);
  }
  for (size_t i = 0; i < recent.size(); ++i) {
    const bool seen_before = std::find(recent.begin(), recent.begin() + static_cast<ptrdiff_t>(i), recent[i]) !=
                             recent.begin() + static_cast<ptrdiff_t>(i);
    if (seen_before || recent[i] < 0 || static_cast<size_t>(recent[i]) >= candidates_.size()) {
      continue;
    }
    float& logit = candidates_[static_cast<size_t>(recent[i])].logit;
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }
}

namespace {

// The first of the highest logits; NaN counts as lowest.
int32_t likeliest(std::span<const float> logits) {
  float best = -std::numeric_limits<float>::infinity();
  int32_t at = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      best = logits[i];
      at = static_cast<int32_t>(i);
    }
  }
  OB_REQUIRE(at >= 0, InvalidArgument, "no token can be chosen: {} logits, none finite",
             logits.size());
  return at;
}

}  // namespace

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> recent) {
  const float lowest = -std::numeric_limits<float>::infinity();
  if (options_.temperature == 0 && options_.repetition_penalty == 1) {
    return likeliest(logits);
  }
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_[i] = {std::isnan(logits[i]) ? lowest : logits[i], static_cast<int32_t>(i)};
  }
  penalise(recent);
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto best = std::min_element(candidates_.begin(), candidates_.end(), likelier);
  OB_REQUIRE(best != candidates_.end() && best->logit > lowest, InvalidArgument,
             "no token can be chosen: {} logits, none finite", logits.size());
  if (options_.temperature == 0) {
    return best->id;
  }
  size_t keep = candidates_.size();
  if (options_.top_k > 0) {
    keep = std::min(keep, static_cast<size_t>(options_.top_k));
  }
  // Tokens 20 temperatures below the best have a chance under 2e-9: no need to sort a whole vocabulary.
  const float floor = best->logit - 20 * options_.temperature;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < floor; });
  keep = std::min(keep, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(keep), candidates_.end(), likelier);
  candidates_.resize(keep);
  return draw();
}

int32_t Sampler::draw() {
  const double top = candidates_.front().logit;
  double total = 0;
  for (Candidate& c : candidates_) {  // from here on `logit` holds the unnormalised probability
    c.logit = static_cast<float>(std::exp((c.logit - top) / options_.temperature));
    total += c.logit;
  }
  double mass = 0;
  size_t keep = 0;
  while (keep < candidates_.size() && (keep == 0 || mass < options_.top_p * total) &&
         candidates_[keep].logit >= options_.min_p * candidates_.front().logit) {
    mass += candidates_[keep].logit;
    ++keep;
  }
  double u = random_.uniform() * mass;
  for (size_t i = 0; i < keep; ++i) {
    u -= candidates_[i].logit;
    if (u < 0) {
      return candidates_[i].id;
    }
  }
  return candidates_[keep - 1].id;
}

}  // namespace offbook::model
