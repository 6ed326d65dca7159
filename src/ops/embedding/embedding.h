// Rows of a table by index.
#pragma once
#include "src/ops/op.h"

namespace offbook::ops {

struct EmbeddingArgs {
  Tensor ids;    // i32 [n], each in [0, vocab)
  Tensor table;  // [vocab, hidden], any float or quantised type
  Tensor out;    // [n, hidden], f32 or bf16
};
// out[i] = table[ids[i]]. An id outside the table is InvalidArgument on the CPU; on a GPU its row
// becomes NaN (no host sync), so callers check ids where they come from outside.
void embedding(const ExecutionContext& ctx, const EmbeddingArgs& args);

struct EmbeddingBackwardArgs {
  Tensor ids;      // i32 [n]
  Tensor d_out;    // [n, hidden], f32 or bf16
  Tensor d_table;  // f32 [vocab, hidden], added to
};
// d_table[ids[i]] += d_out[i], in order of i: the same bits for any number of threads.
void embedding_backward(const ExecutionContext& ctx, const EmbeddingBackwardArgs& args);

}  // namespace offbook::ops
