// The likeliest token of each row.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct ArgmaxArgs {
  Tensor x;    // [n, vocab], f32 or bf16
  Tensor out;  // i32 [n]: index of the largest value, the lowest among equals; NaN counts as −∞
};
// Not differentiable.
void argmax(const ExecutionContext& ctx, const ArgmaxArgs& args);

}  // namespace offbook::ops
