// Products of a weight with few rows, reading the weight once, as stored.
#pragma once
#include "src/ops/cuda/weights.cuh"
#include "src/ops/registry.h"

namespace offbook::ops::cuda {

inline constexpr int64_t kGemvRows = 8;

// `linear` for x of at most kGemvRows rows; a row's bits do not depend on their number.
void gemv(const ExecutionContext& ctx, const LinearArgs& args);

// `linear` in f32 arithmetic for any rows, types and strides: eight rows of x a pass. Rounds the
// factors to bf16 first when ctx.compute says so. What no faster way takes goes here.
void linear_any(const ExecutionContext& ctx, const LinearArgs& args);

}  // namespace offbook::ops::cuda
