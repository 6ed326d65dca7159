// What writing passes of the trained methods share.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
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

// Most rows of one sequence of a writing pass: 1,536 tokens at 8×, and on a CPU the bound of a pass
// (about 60 MB of activations for SmolLM2-135M).
inline constexpr int32_t kPassRows = 2048;
// Most rows of a pass. A GPU is not filled by kPassRows.
int32_t most_pass_rows(const backend::ExecutionContext& ctx);

// Gathers what is written in one pass: `write` gets the items that wait before the next one would
// bring them above `most` rows, and at flush().
template <typename Item>
class PassQueue {
 public:
  using Write = std::function<void(std::span<const Item>)>;
  PassQueue(int32_t most, Write write) : most_(most), write_(std::move(write)) {}

  void add(Item item, int32_t rows) {
    if (rows_ + rows > most_) {
      flush();
    }
    rows_ += rows;
    waiting_.push_back(std::move(item));
  }

  void flush() {
    if (!waiting_.empty()) {
      write_(waiting_);
      waiting_.clear();
      rows_ = 0;
    }
  }

 private:
  int32_t most_;
  Write write_;
  std::vector<Item> waiting_;
  int32_t rows_ = 0;
};

// Spans of the source that slots close: one a `ratio` tokens, the last one what is left.
std::vector<ByteSpan> slot_spans(const Segment& segment, int32_t ratio);

// Tokens of one more segment that brings a pass of `rows` to a multiple of 64 rows; the segment has
// `own` rows beside them. Matrix products take another path, with other rounding, for a few rows: a
// context must have the same bits alone and in a batch.
std::vector<int32_t> filling(int32_t rows, int32_t own);

}  // namespace offbook::compress
