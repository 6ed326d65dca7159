#include "src/compress/selective_context/compressor.h"

#include "src/compress/text_context.h"

namespace offbook::compress {

SelectiveContextCompressor::SelectiveContextCompressor(const BaseModel& base)
    : base_(base), description_{.id = "selective_context", .kind = ContextKind::text} {}

CompressedContext SelectiveContextCompressor::select(const Request& request,
                                                     const ScoredText& scored) const {
  CompressedContext out = begin_context(*this, base_, request);
  const int64_t limit = kept_limit(out.tokens_before, request.budget);
  const TokenCount count = [&](std::string_view text) {
    return static_cast<int64_t>(kept_text_tokens(base_.tokenizer, text).size());
  };
  // The source's own white space may read as more tokens than single spaces: then less is kept.
  for (int64_t budget = limit;; budget -= out.tokens_after - limit) {
    const SelectedText selected =
        select_text(scored, {}, count, {.token_budget = std::max<int64_t>(0, budget)});
    keep_spans(request, base_.tokenizer, selected.spans, out);
    if (out.tokens_after <= limit) {
      return out;
    }
  }
}

Plan SelectiveContextCompressor::plan(const Request& request) const {
  return plan_text(base_.llama.config(), request, true);
}

std::vector<CompressedContext> SelectiveContextCompressor::compress(
    const backend::ExecutionContext& ctx, std::span<const Request> requests) const {
  // A GPU wants longer passes than a CPU's caches hold.
  SurprisalOptions options{.activations = ctx.activations()};
  if (ctx.device() == Device::cuda) {
    options.rows_per_pass = 16'384;
  }
  std::vector<ScoredText> scored;
  std::vector<size_t> scores_of;  // by request
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::string_view text = requests[i].text;
    if (i == 0 || text.data() != requests[i - 1].text.data() ||
        text.size() != requests[i - 1].text.size()) {
      scored.push_back(score_text(ctx, {base_.llama, base_.tokenizer}, text, options));
    }
    scores_of.push_back(scored.size() - 1);
  }
  std::vector<CompressedContext> out(requests.size());
  ctx.pool->run(static_cast<int64_t>(requests.size()), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    out[at] = select(requests[at], scored[scores_of[at]]);
  });
  return out;
}

std::vector<ContextPart> SelectiveContextCompressor::attach(std::span<const Attachment> contexts,
                                                            const AttachOptions&) const {
  return attach_text(*this, base_, contexts);
}

}  // namespace offbook::compress
