// Shared by the CPU implementations of linear_cross_entropy.
#pragma once
#include "src/base/error.h"
#include "src/tensor/tensor.h"

namespace offbook::ops {

// Throws InvalidArgument naming the first target that is neither −1 nor a row of the head.
inline void check_targets(const Tensor& targets, int64_t vocab) {
  const auto* t = targets.data<int32_t>();
  for (int64_t i = 0; i < targets.dim(0); ++i) {
    OB_REQUIRE(
        t[i] >= -1 && t[i] < vocab, InvalidArgument,
        "linear_cross_entropy: target {} of row {} is neither −1 nor below the vocabulary of {}",
        t[i], i, vocab);
  }
}

}  // namespace offbook::ops
