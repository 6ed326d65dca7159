// Attention of few query rows over a long cache: the kernel of decoding.
#pragma once
#include "src/ops/attention/kernels_cuda.cuh"

namespace offbook::ops::cuda {

// Query rows that one key head serves at once: heads of its group times queries of the sequence.
inline constexpr int kDecodeRows = 16;

// Serves the sequences with length · group ≤ kDecodeRows, and leaves the others alone. Takes what
// flash_fits takes. A row's bits depend on its own sequence alone.
void attention_decode(const ExecutionContext& ctx, const PagedAttentionArgs& args);

}  // namespace offbook::ops::cuda
