#include "src/compress/embeddings.h"

#include "src/backend/transfer.h"

namespace offbook::compress {

Tensor embedding_of(const backend::ExecutionContext& ctx, const BaseModel& base, int32_t token) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor row =
      base.llama.embed({ctx}, model::make_ints(ctx, std::span(&token, 1), {1}), Dtype::f32);
  Tensor out = Tensor::empty(Dtype::f32, {row.dim(1)});
  backend::download(ctx, row, {out.raw(), static_cast<size_t>(out.bytes())});
  return out;
}

Tensor embedding_of(const backend::ExecutionContext& ctx, const BaseModel& base,
                    std::string_view text) {
  const auto ids = base.tokenizer.encode(text, {.add_special = false, .is_continuation = true}).ids;
  OB_REQUIRE(!ids.empty(), InvalidArgument, "the tokenizer has no token for \"{}\"", text);
  return embedding_of(ctx, base, ids.front());
}

}  // namespace offbook::compress
