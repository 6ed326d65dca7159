// Logits where they are compared: on the CPU.
#pragma once
#include <span>
#include <vector>

#include "src/backend/context.h"
#include "src/tensor/tensor.h"

namespace offbook::learn {

// Logits [n, vocab] of a decoder, which leaves them where it runs, copied to the CPU.
class HostLogits {
 public:
  HostLogits(const backend::ExecutionContext& ctx, const Tensor& logits);
  std::span<const float> row(size_t i) const {
    return std::span(values_).subspan(i * vocab_, vocab_);
  }

 private:
  size_t vocab_;
  std::vector<float> values_;
};

int32_t likeliest(std::span<const float> row);
// Natural logarithm of a token's probability.
double log_probability_of(std::span<const float> row, int32_t token);

}  // namespace offbook::learn
