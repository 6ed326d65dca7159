#include "src/compress/soft_tokens.h"

#include <cstring>

#include "src/backend/transfer.h"
#include "src/base/float16.h"
#include "src/ops/registry.h"

namespace offbook::compress {

void check_soft_payload(const CompressedContext& context, int64_t hidden) {
  const Shape wanted{static_cast<int64_t>(context.slot_spans.size()), hidden};
  OB_REQUIRE(context.soft_tokens.defined() && context.soft_tokens.dtype() == Dtype::bf16 &&
                 context.soft_tokens.shape() == wanted,
             InvalidArgument, "a context of {} slots of {} holds bf16 {}, not {}", wanted[0],
             context.method, to_string(wanted), to_string(context.soft_tokens));
}

void put_soft_tokens(const backend::ExecutionContext& ctx, const Tensor& vectors, int32_t first,
                     const CompressedContext& to) {
  const Tensor half = ctx.make(Dtype::bf16, vectors.shape());
  ops::copy(ctx, {.x = vectors, .out = half});
  backend::download(ctx, half, {to.soft_tokens.row_raw(first), static_cast<size_t>(half.bytes())});
}

std::vector<ContextPart> attach_soft_tokens(std::span<const Attachment> contexts,
                                            const AttachOptions& options, int64_t hidden) {
  std::vector<std::vector<int32_t>> slots;
  int64_t total = 0;
  for (const Attachment& attachment : contexts) {
    slots.push_back(attached_slots(attachment));
    total += static_cast<int64_t>(slots.back().size());
  }
  std::vector<ContextPart> parts;
  if (total == 0) {
    return parts;
  }
  if (!options.has_text_before) {
    parts.push_back({.tokens = {0}});
  }
  const Tensor vectors = Tensor::empty(Dtype::bf16, {total, hidden});
  const auto row = static_cast<size_t>(hidden) * sizeof(Bf16);
  int64_t at = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    for (const int32_t slot : slots[i]) {
      std::memcpy(vectors.row_raw(at++), contexts[i].context->soft_tokens.row_raw(slot), row);
    }
  }
  parts.push_back({.soft_tokens = vectors});
  return parts;
}

}  // namespace offbook::compress
