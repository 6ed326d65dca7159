#include "src/learn/host_logits.h"

#include <algorithm>
#include <cmath>

#include "src/backend/transfer.h"

namespace offbook::learn {

HostLogits::HostLogits(const backend::ExecutionContext& ctx, const Tensor& logits)
    : vocab_(static_cast<size_t>(logits.dim(1))), values_(static_cast<size_t>(logits.numel())) {
  backend::download(ctx, logits, std::as_writable_bytes(std::span(values_)));
}

int32_t likeliest(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

double log_probability_of(std::span<const float> row, int32_t token) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) {
    sum += std::exp(x - top);
  }
  return row[static_cast<size_t>(token)] - top - std::log(sum);
}

}  // namespace offbook::learn
