#include "src/compress/icae/compressor.h"

#include <algorithm>

#include "src/base/float16.h"
#include "src/compress/soft_tokens.h"

namespace offbook::compress {

// What one sequence of an encoding pass reads, and where its slots go.
struct IcaeCompressor::Span {
  std::span<const int32_t> tokens;
  int32_t slots = 0;
  int32_t first_slot = 0;
  CompressedContext* to = nullptr;

  int32_t rows() const { return 1 + static_cast<int32_t>(tokens.size()) + slots; }
};

IcaeCompressor::IcaeCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                               const CompressorWeights& weights)
    : base_(base),
      description_{.id = "icae",
                   .kind = ContextKind::soft_tokens,
                   .needs_training = true,
                   .weights_hash = hash_of(weights)},
      weights_(weights),
      icae_(on_device(ctx, take_icae(weights, base.llama.config()))) {}

int32_t IcaeCompressor::longest_span(int32_t ratio) const {
  const auto table = static_cast<int32_t>(icae_.encoder.summary.dim(0));
  const auto rows =
      static_cast<int32_t>(std::min<int64_t>(kPassRows, base_.llama.config().max_positions)) - 1;
  const int32_t slots = std::min(table, rows / (ratio + 1));
  OB_REQUIRE(slots >= 1, InvalidArgument,
             "a memory slot of this model stands for at most {} tokens, not {}", rows - 1, ratio);
  return slots * ratio;
}

Plan IcaeCompressor::plan(const Request& request) const {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const auto tokens = static_cast<int32_t>(request.segment->tokens.size());
  const int32_t ratio = whole_ratio(tokens, request.budget);
  const model::ModelConfig& config = base_.llama.config();
  const int32_t slots = (tokens + ratio - 1) / ratio;
  Plan plan{
      .kept_tokens = slots,
      .bytes = static_cast<uint64_t>(slots) * static_cast<uint64_t>(config.hidden) * sizeof(Bf16)};
  int32_t begin = 0;
  for (const int32_t end : whole_slot_spans(tokens, tokens == 0 ? 1 : longest_span(ratio), ratio)) {
    plan.flops += pass_flops(config, 1 + end - begin + (end - begin + ratio - 1) / ratio, false);
    begin = end;
  }
  return plan;
}

std::vector<IcaeCompressor::Span> IcaeCompressor::spans_of(const Request& request,
                                                           CompressedContext& out) const {
  if (request.prior != nullptr) {
    check_belongs(*this, base_, *request.prior);
  }
  const int32_t ratio = whole_ratio(out.tokens_before, request.budget);
  out.slot_spans = slot_spans(*request.segment, ratio);
  out.tokens_after = static_cast<int>(out.slot_spans.size());
  out.soft_tokens = Tensor::empty(Dtype::bf16, {out.tokens_after, base_.llama.config().hidden});
  std::vector<Span> spans;
  int32_t begin = 0;
  const int32_t longest = out.tokens_before == 0 ? 1 : longest_span(ratio);
  for (const int32_t end : whole_slot_spans(out.tokens_before, longest, ratio)) {
    spans.push_back(
        {.tokens = std::span(request.segment->tokens)
                       .subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
         .slots = (end - begin + ratio - 1) / ratio,
         .first_slot = begin / ratio,
         .to = &out});
    begin = end;
  }
  return spans;
}

void IcaeCompressor::write(const backend::ExecutionContext& ctx,
                           std::span<const Span> spans) const {
  backend::ArenaScope scope(*ctx.arena);
  std::vector<AutoSegment> segments;
  int32_t rows = 0;
  for (const Span& span : spans) {
    segments.push_back({.tokens = span.tokens, .summary = span.slots});
    rows += span.rows();
  }
  const std::vector<int32_t> filler = filling(rows, 1);
  segments.push_back({.tokens = filler});
  const std::vector<AutoOutput> outputs =
      run_segments({ctx}, writer_.get(ctx, base_.llama, icae_.encoder.lora), icae_.encoder,
                   segments, {.activations = ctx.activations()});
  for (size_t i = 0; i < spans.size(); ++i) {
    put_soft_tokens(ctx, outputs[i].vectors, spans[i].first_slot, *spans[i].to);
  }
}

std::vector<CompressedContext> IcaeCompressor::compress(const backend::ExecutionContext& ctx,
                                                        std::span<const Request> requests) const {
  std::vector<CompressedContext> out;
  out.reserve(requests.size());  // spans point into it
  PassQueue<Span> queue(most_pass_rows(ctx), [&](auto spans) { write(ctx, spans); });
  for (const Request& request : requests) {
    out.push_back(begin_context(*this, base_, request));
    for (const Span& span : spans_of(request, out.back())) {
      queue.add(span, span.rows());
    }
  }
  queue.flush();
  return out;
}

void IcaeCompressor::check_payload(const CompressedContext& context) const {
  check_soft_payload(context, base_.llama.config().hidden);
}

std::vector<ContextPart> IcaeCompressor::attach(std::span<const Attachment> contexts,
                                                const AttachOptions& options) const {
  for (const Attachment& attachment : contexts) {
    attached_slots(attachment);
    check_belongs(*this, base_, *attachment.context);
    check_payload(*attachment.context);
  }
  return attach_soft_tokens(contexts, options, base_.llama.config().hidden);
}

}  // namespace offbook::compress
