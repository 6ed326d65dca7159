// What methods whose slots are soft tokens share.
#pragma once
#include <span>
#include <vector>

#include "src/compress/compressor.h"

namespace offbook::compress {

// InvalidArgument unless the context holds bf16 [slots, hidden].
void check_soft_payload(const CompressedContext& context, int64_t hidden);

// Vectors [n, hidden] of a pass to slots `first` … of the context.
void put_soft_tokens(const backend::ExecutionContext& ctx, const Tensor& vectors, int32_t first,
                     const CompressedContext& to);

// Checked contexts' slots one behind another; token 0, the sink that stood in front of every
// segment when it was written, first where no text stands before. Empty when nothing is attached.
std::vector<ContextPart> attach_soft_tokens(std::span<const Attachment> contexts,
                                            const AttachOptions& options, int64_t hidden);

}  // namespace offbook::compress
