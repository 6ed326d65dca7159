#include "src/compress/quito/compressor.h"

#include "src/compress/quito/quito.h"
#include "src/compress/text_context.h"

namespace offbook::compress {

QuitoCompressor::QuitoCompressor(const BaseModel& base, FirstToken first_token)
    : base_(base),
      first_token_(first_token),
      description_{.id = first_token == FirstToken::counts ? "quito" : "quito_no_sink",
                   .kind = ContextKind::text,
                   .is_query_aware = true} {}

CompressedContext QuitoCompressor::filter(const Request& request,
                                          const WeightedText& weighted) const {
  CompressedContext out = begin_context(*this, base_, request);
  const int64_t limit = kept_limit(out.tokens_before, request.budget);
  const auto count = [&](std::string_view text) {
    return static_cast<int64_t>(kept_text_tokens(base_.tokenizer, text).size());
  };
  const QuitoText kept =
      filter_document(request.text, weighted, {}, count, {.token_budget = limit});
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
  std::vector<WeightedText> weighted;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Request& request = requests[i];
    const bool is_known = i > 0 && request.text.data() == requests[i - 1].text.data() &&
                          request.text.size() == requests[i - 1].text.size() &&
                          request.question == requests[i - 1].question;
    if (!is_known) {
      weighted = weigh_documents(ctx, base_.llama, base_.tokenizer, std::span(&request.text, 1),
                                 request.question,
                                 {.leaves_out_first_token = first_token_ == FirstToken::left_out,
                                  .chat_format = base_.chat_format});
    }
    out.push_back(filter(request, weighted.front()));
  }
  return out;
}

std::vector<ContextPart> QuitoCompressor::attach(std::span<const Attachment> contexts,
                                                 const AttachOptions&) const {
  return attach_text(*this, base_, contexts);
}

}  // namespace offbook::compress
