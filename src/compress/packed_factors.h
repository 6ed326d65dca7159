// Adapter factors in 8 or 4 bits, for weights that ship: docs/formats/compressor.md.
#pragma once
#include <cstdint>

#include "src/compress/weights_file.h"

namespace offbook::compress {

inline constexpr int64_t kFactorBlock = 32;  // values that share a scale

// Blocks of 32 values in the order they lie in memory (the last one may be shorter and is filled
// with zeros): a bf16 scale, then 32 signed bytes, or 16 bytes of two values + 8, the first in the
// low half. The scale is the best in the squared sense of those tried around the largest value.
// f32 or bf16 → u8 [blocks, 34] or [blocks, 18].
Tensor pack_factors(const Tensor& values, int bits);
// The reverse; Corrupt unless `packed` fits the shape.
Tensor unpack_factors(const Tensor& packed, int bits, const Shape& shape);

// The same weights with the factors of their adapters ("lora…", "reader…") packed, under their
// names with ".q8" or ".q4". bits: 16 (as they are), 8 or 4.
CompressorWeights with_packed_factors(const CompressorWeights& weights, int bits);

}  // namespace offbook::compress
