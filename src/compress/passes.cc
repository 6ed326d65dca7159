#include "src/compress/passes.h"

#include <algorithm>

namespace offbook::compress {

Dtype merged_type(const backend::ExecutionContext& ctx) {
  return ctx.compute == backend::Compute::bf16 ? Dtype::bf16 : Dtype::f32;
}

int32_t most_pass_rows(const backend::ExecutionContext& ctx) {
  constexpr int32_t kGpuRows = 32'768;
  return ctx.device() == Device::cuda ? kGpuRows : kPassRows;
}

const model::Llama& MergedWriter::get(const backend::ExecutionContext& ctx,
                                      const model::Llama& base,
                                      const model::LoraAdapter& adapter) const {
  std::call_once(once_, [&] {
    model_ = std::make_unique<model::Llama>(
        ctx, base.config(), model::merged(ctx, base.weights(), adapter, merged_type(ctx)));
  });
  return *model_;
}

std::vector<ByteSpan> slot_spans(const Segment& segment, int32_t ratio) {
  std::vector<ByteSpan> out;
  const size_t tokens = segment.tokens.size();
  for (size_t first = 0; first < tokens; first += static_cast<size_t>(ratio)) {
    const size_t last = std::min(tokens, first + static_cast<size_t>(ratio)) - 1;
    out.push_back({segment.token_spans[first].begin, segment.token_spans[last].end});
  }
  return out;
}

std::vector<int32_t> filling(int32_t rows, int32_t own) {
  constexpr int32_t kRows = 64;
  const int32_t missing = (kRows - (rows + own + 1) % kRows) % kRows;
  return std::vector<int32_t>(static_cast<size_t>(missing + 1), 0);
}

}  // namespace offbook::compress
