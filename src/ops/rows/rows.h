// Moving whole rows: picking, placing, averaging.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct GatherRowsArgs {
  Tensor x;  // [m, …rest], rank ≤ 3, f32 or bf16; rows may be strided, the rest is contiguous
  Tensor index;  // i32 [n], each in [0, m)
  Write write = Write::overwrite;
  Tensor out;  // [n, …rest], f32 or bf16
};
// out[i] (+)= x[index[i]]. Its gradient is scatter_rows with accumulate.
void gather_rows(const ExecutionContext& ctx, const GatherRowsArgs& args);

struct ScatterRowsArgs {
  Tensor x;      // [n, …rest]
  Tensor index;  // i32 [n], each in [0, m); without repeats when write is overwrite
  Write write = Write::overwrite;
  bool is_distinct = false;  // no row is named twice: spares a GPU looking for those that are
  Tensor out;                // [m, …rest]; rows not named stay as they are
};
// out[index[i]] (+)= x[i], in order of i. Its gradient is gather_rows.
void scatter_rows(const ExecutionContext& ctx, const ScatterRowsArgs& args);

struct SegmentMeanArgs {
  Tensor x;        // [n, dim], f32 or bf16
  Tensor offsets;  // i32 [m + 1], rising, last ≤ n: rows offsets[i]…offsets[i+1]-1 form segment i
  bool l2_normalise =
      false;   // divide each mean by its length (sentence vectors); not differentiable then
  Tensor out;  // [m, dim]; the mean of no rows is 0
};
void segment_mean(const ExecutionContext& ctx, const SegmentMeanArgs& args);

struct SegmentMeanBackwardArgs {
  Tensor offsets;
  Tensor d_out;  // [m, dim]
  Tensor d_x;    // [n, dim], added to
};
void segment_mean_backward(const ExecutionContext& ctx, const SegmentMeanBackwardArgs& args);

}  // namespace offbook::ops
