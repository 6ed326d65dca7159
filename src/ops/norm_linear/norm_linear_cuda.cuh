// What decode_layers takes of norm_linear's kernels besides the operations.
#pragma once
#include "src/ops/registry.h"

namespace offbook::ops::cuda {

// norm_linear with q, k and v as one matrix, and kv_write behind it.
struct ProjectKv {
  NormedRows rows;
  Tensor weight;  // [(heads + 2 kv_heads) · dim, in]
  Tensor table;   // of kv_write, as the following
  Tensor slots;
  Tensor k_pages;
  Tensor v_pages;
  Tensor q;  // [n, heads, dim]: gets the queries, turned
};
// One kernel with the bits of the two operations. False, and nothing queued, where it does not fit.
bool project_kv(const ExecutionContext& ctx, const ProjectKv& a);

}  // namespace offbook::ops::cuda
