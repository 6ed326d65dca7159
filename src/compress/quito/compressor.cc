#include "src/compress/quito/compressor.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/compress/text_context.h"

namespace offbook::compress {

QuitoCompressor::QuitoCompressor(const BaseModel& base, Row row, const ChosenAttention& chosen)
    : base_(base),
      options_{.leaves_out_first_token = row == Row::without_first_token,
               .chat_format = base.chat_format},
      description_{.kind = ContextKind::text, .is_query_aware = true} {
  static constexpr std::string_view kIds[] = {"quito", "quito_no_sink", "quito_heads"};
  description_.id = kIds[static_cast<size_t>(row)];
  if (row == Row::chosen_heads) {
    OB_REQUIRE(!chosen.heads.empty(), Unsupported,
               "no heads of this model were chosen for quito_heads (bench/bars/quito_heads.cc "
               "chooses them)");
    options_.rows = {
        .heads = chosen.heads, .asking = chosen.asking, .has_equal_heads = chosen.has_equal_heads};
    options_.filter = {.filter = chosen.filter, .sigma = chosen.sigma};
  }
}

CompressedContext QuitoCompressor::filter(const Request& request,
                                          const WeightedText& weighted) const {
  CompressedContext out = begin_context(*this, base_, request);
  const int64_t limit = kept_limit(out.tokens_before, request.budget);
  const auto count = [&](std::string_view text) {
    return static_cast<int64_t>(kept_text_tokens(base_.tokenizer, text).size());
  };
  QuitoFilterOptions options = options_.filter;
  options.token_budget = limit;
  const QuitoText kept = filter_document(request.text, weighted, {}, count, options);
  keep_spans(request, base_.tokenizer, kept.spans, out);
  return out;
}

Plan QuitoCompressor::plan(const Request& request) const {
  return plan_text(base_.llama.config(), request, false);
}

std::vector<CompressedContext> QuitoCompressor::compress(const backend::ExecutionContext& ctx,
                                                         std::span<const Request> requests) const {
  const auto is_one_text = [](const Request& a, const Request& b) {
    return a.text.data() == b.text.data() && a.text.size() == b.text.size();
  };
  std::vector<WeightedText> weighted;
  std::vector<size_t> weights_of;  // by request
  for (size_t begin = 0; begin < requests.size();) {
    std::vector<std::string_view> questions;
    size_t end = begin;
    for (; end < requests.size() && is_one_text(requests[begin], requests[end]); ++end) {
      const auto known = std::find(questions.begin(), questions.end(), requests[end].question);
      weights_of.push_back(weighted.size() + static_cast<size_t>(known - questions.begin()));
      if (known == questions.end()) {
        questions.push_back(requests[end].question);
      }
    }
    for (WeightedText& one : weigh_questions(ctx, base_.llama, base_.tokenizer,
                                             requests[begin].text, questions, options_)) {
      weighted.push_back(std::move(one));
    }
    begin = end;
  }
  std::vector<CompressedContext> out(requests.size());
  ctx.pool->run(static_cast<int64_t>(requests.size()), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    out[at] = filter(requests[at], weighted[weights_of[at]]);
  });
  return out;
}

std::vector<ContextPart> QuitoCompressor::attach(std::span<const Attachment> contexts,
                                                 const AttachOptions&) const {
  return attach_text(*this, base_, contexts);
}

}  // namespace offbook::compress
