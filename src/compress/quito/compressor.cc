#include "src/compress/quito/compressor.h"

#include "src/compress/quito/quito.h"
#include "src/compress/text_context.h"

namespace offbook::compress {

QuitoCompressor::QuitoCompressor(const BaseModel& base)
    : base_(base), description_{.id = "quito", .kind = ContextKind::text, .is_query_aware = true} {}

CompressedContext QuitoCompressor::compress_one(const backend::ExecutionContext& ctx,
                                                const Request& request) const {
  CompressedContext out = begin_context(*this, base_, request);
  const int64_t limit = kept_limit(out.tokens_before, request.budget);
  const auto weighted =
      weigh_documents(ctx, base_.llama, base_.tokenizer, std::span(&request.text, 1),
                      request.question, {.chat_format = base_.chat_format});
  const auto count = [&](std::string_view text) {
    return static_cast<int64_t>(kept_text_tokens(base_.tokenizer, text).size());
  };
  const QuitoText kept =
      filter_document(request.text, weighted.front(), {}, count, {.token_budget = limit});
  keep_spans(request, base_.tokenizer, kept.spans, out);
  return out;
}

Plan QuitoCompressor::plan(const Request& request) const {
  return plan_text(base_.llama.config(), request, false);
}

std::vector<CompressedContext> QuitoCompressor::compress(const backend::ExecutionContext& ctx,
                                                         std::span<const Request> requests) const {
  std::vector<CompressedContext> out;
  out.reserve(requests.size());
  for (const Request& request : requests) {
    out.push_back(compress_one(ctx, request));
  }
  return out;
}

std::vector<ContextPart> QuitoCompressor::attach(std::span<const Attachment> contexts,
                                                 const AttachOptions&) const {
  return attach_text(*this, base_, contexts);
}

}  // namespace offbook::compress
