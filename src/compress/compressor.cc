#include "src/compress/compressor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace offbook::compress {

int32_t kept_limit(int32_t tokens, const Budget& budget) {
  const bool by_ratio = budget.ratio != 0;
  OB_REQUIRE(
      by_ratio != (budget.tokens != 0), InvalidArgument,
      "a budget is a ratio or a number of tokens, one of the two: got ratio {} and {} tokens",
      budget.ratio, budget.tokens);
  if (!by_ratio) {
    OB_REQUIRE(budget.tokens >= 1, InvalidArgument, "a budget of tokens is at least 1, not {}",
               budget.tokens);
    return std::min(tokens, budget.tokens);
  }
  OB_REQUIRE(std::isfinite(budget.ratio) && budget.ratio >= 1, InvalidArgument,
             "a ratio is at least 1, not {}", budget.ratio);
  return static_cast<int32_t>(std::ceil(tokens / budget.ratio));
}

int32_t whole_ratio(int32_t tokens, const Budget& budget) {
  const int32_t limit = kept_limit(tokens, budget);
  if (budget.ratio != 0) {
    return static_cast<int32_t>(std::ceil(std::min(budget.ratio, 1e6)));
  }
  return limit == 0 ? 1 : (tokens + limit - 1) / limit;
}

const CompressorWeights& Compressor::weights() const {
  OB_THROW(InvalidArgument, "the method {} has no weights to save", describe().id);
}

CompressedContext begin_context(const Compressor& compressor, const BaseModel& base,
                                const Request& request) {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const Segment& segment = *request.segment;
  OB_REQUIRE(segment.tokens.size() == segment.token_spans.size(), InvalidArgument,
             "segment {} of document {}: {} tokens with {} spans", segment.ordinal,
             segment.document_id, segment.tokens.size(), segment.token_spans.size());
  const auto tokens = static_cast<int>(segment.tokens.size());
  const int32_t limit = kept_limit(tokens, request.budget);
  return {.method = compressor.describe().id,
          .weights_hash = compressor.describe().weights_hash,
          .base = base.fingerprint,
          .kind = compressor.describe().kind,
          .document_id = segment.document_id,
          .segment_ordinal = segment.ordinal,
          .tokens_before = tokens,
          .ratio = request.budget.ratio != 0 ? request.budget.ratio
                                             : static_cast<double>(tokens) / std::max(1, limit)};
}

void check_belongs(const Compressor& compressor, const BaseModel& base,
                   const CompressedContext& context) {
  const std::string& id = compressor.describe().id;
  OB_REQUIRE(context.method == id, InvalidArgument, "a context of the method {} was given to {}",
             context.method, id);
  if (context.kind == ContextKind::text) {
    return;  // any model reads text
  }
  OB_REQUIRE(
      context.base.model == base.fingerprint.model, InvalidArgument,
      "a {} context of the model {} cannot be read by the model {}: compress the document again",
      id, context.base.model, base.fingerprint.model);
  const std::string& hash = compressor.describe().weights_hash;
  OB_REQUIRE(context.weights_hash == hash, InvalidArgument,
             "a {} context made with the weights {}, here are {}: compress the document again", id,
             context.weights_hash, hash);
}

std::vector<int32_t> attached_slots(const Attachment& attachment) {
  OB_REQUIRE(attachment.context != nullptr, InvalidArgument, "an attachment without a context");
  const auto count = static_cast<int32_t>(attachment.context->slot_spans.size());
  if (!attachment.slots) {
    std::vector<int32_t> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  int32_t before = -1;
  for (const int32_t slot : *attachment.slots) {
    OB_REQUIRE(slot > before && slot < count, InvalidArgument,
               "slots to attach rise below {}: {} after {}", count, slot, before);
    before = slot;
  }
  return *attachment.slots;
}

std::vector<int32_t> slots_at(const CompressedContext& context, const ByteSpan& span) {
  std::vector<int32_t> slots;
  for (size_t i = 0; i < context.slot_spans.size(); ++i) {
    const ByteSpan& s = context.slot_spans[i];
    if (s.begin < span.end && span.begin < s.end) {
      slots.push_back(static_cast<int32_t>(i));
    }
  }
  return slots;
}

double pass_flops(const model::ModelConfig& config, int64_t rows, bool with_head) {
  const double hidden = static_cast<double>(config.hidden);
  const auto q = static_cast<double>(config.q_width());
  const double matrices = 2 * hidden * (q + static_cast<double>(config.kv_width())) +
                          3 * hidden * static_cast<double>(config.ffn);
  const auto n = static_cast<double>(rows);
  const double layers =
      static_cast<double>(config.layers) * (2 * matrices * n + 2 * q * n * (n + 1));
  return layers + (with_head ? 2 * hidden * static_cast<double>(config.vocab_size) * n : 0);
}

}  // namespace offbook::compress
