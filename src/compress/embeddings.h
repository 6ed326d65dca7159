// Input embeddings by token or spelling: where learned inputs start.
#pragma once
#include "src/compress/compressor.h"

namespace offbook::compress {

// f32 [hidden] on the CPU: the embedding of a token, or of the first token of `text`.
Tensor embedding_of(const backend::ExecutionContext& ctx, const BaseModel& base, int32_t token);
Tensor embedding_of(const backend::ExecutionContext& ctx, const BaseModel& base,
                    std::string_view text);

}  // namespace offbook::compress
