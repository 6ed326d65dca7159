// Block-quantised or 16-bit weights as plain numbers.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct DequantizeArgs {
  Tensor x;    // [rows, cols] of any float or quantised type
  Tensor out;  // [rows, cols], f32 or bf16, contiguous
};
// Exact in f32: the same bits as llama.cpp's dequantisation of the same block. Not differentiable.
void dequantize(const ExecutionContext& ctx, const DequantizeArgs& args);

}  // namespace offbook::ops
