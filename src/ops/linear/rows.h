// Weight times few rows: reads every weight once and is bound by memory. Sums run in one order for
// any number of rows, so a row's result has the same bits alone or in a batch.
#pragma once
#include "src/ops/linear/linear.h"

namespace offbook::ops {

// Rows that one pass over the weight serves.
inline constexpr int kRowsAtOnce = 8;

namespace avx2 {
// Float products; for quantised weights with those of their exact values.
void linear_rows(const ExecutionContext& ctx, const LinearArgs& args);
// Quantised weights; activations are quantised to int8 with a scale per 32 values.
void linear_rows_int8(const ExecutionContext& ctx, const LinearArgs& args);
}  // namespace avx2
namespace avx512 {
void linear_rows(const ExecutionContext& ctx, const LinearArgs& args);
void linear_rows_int8(const ExecutionContext& ctx, const LinearArgs& args);
}  // namespace avx512

}  // namespace offbook::ops
