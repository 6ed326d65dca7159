// Rotary position embedding, half-split order (arXiv 2104.09864): pairs are (i, i + dim/2).
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct RopeTableArgs {
  Tensor positions;    // i32 [n]
  Tensor inv_freq;     // f32 [dim/2]
  float scale = 1.0f;  // multiplies cosines and sines (YaRN's attention factor)
  Tensor out;          // f32 [n, dim]: cosines in the first half of a row, sines in the second
};
// Angles are computed in double on the CPU: position 131,071 at frequency 1 loses no bit that
// counts.
void rope_table(const ExecutionContext& ctx, const RopeTableArgs& args);

enum class Rotation : uint8_t { forward, inverse };

struct RopeArgs {
  Tensor x;      // [n, heads, dim], f32 or bf16; rows and heads may be strided
  Tensor table;  // f32 [n, dim]
  Rotation rotation = Rotation::forward;
  Write write = Write::overwrite;
  Tensor out;  // shape of x; may be x itself
};
// Rotates every head by its row's angles; the inverse is also the gradient.
void rope(const ExecutionContext& ctx, const RopeArgs& args);

}  // namespace offbook::ops
