// What writing passes of the trained methods share.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "src/compress/compressor.h"

namespace offbook::compress {

// Element type of a writer's merged matrices: bf16, or f32 where products are f32.
Dtype merged_type(const backend::ExecutionContext& ctx);

// The base with a writer's adapter merged, made by the first pass: contexts that are only attached
// need none. Thread-safe; all passes run on the kind of context that the first one had.
class MergedWriter {
 public:
  const model::Llama& get(const backend::ExecutionContext& ctx, const model::Llama& base,
                          const model::LoraAdapter& adapter) const;

 private:
  mutable std::once_flag once_;
  mutable std::unique_ptr<const model::Llama> model_;
};

// Spans of the source that slots close: one a `ratio` tokens, the last one what is left.
std::vector<ByteSpan> slot_spans(const Segment& segment, int32_t ratio);

// Tokens of one more segment that brings a pass of `rows` to a multiple of 64 rows; the segment has
// `own` rows beside them. Matrix products take another path, with other rounding, for a few rows: a
// context must have the same bits alone and in a batch.
std::vector<int32_t> filling(int32_t rows, int32_t own);

}  // namespace offbook::compress
