// The two orders of rotary pairs in the rows of q and k projections.
#pragma once
#include "src/tensor/tensor.h"

namespace offbook::model {

// Within each head, interleaved order keeps the pair (i, i + head_dim/2) in neighbouring rows 2i
// and 2i + 1; GGUF files of the llama architecture are stored so. offbook computes in half-split
// order. Both take [heads × head_dim, in] or [heads × head_dim] of any element type and move whole
// rows, so quantised blocks stay as they are. Cost: one copy. Throws InvalidArgument if the rows do
// not divide into heads of even size.
Tensor half_split_rows(const Tensor& interleaved, int64_t heads);
Tensor interleaved_rows(const Tensor& half_split, int64_t heads);

}  // namespace offbook::model
