#include "src/compress/text_context.h"

namespace offbook::compress {

std::vector<int32_t> kept_text_tokens(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .is_continuation = true}).ids;
}

std::vector<ContextPart> attach_text(const Compressor& compressor, const BaseModel& base,
                                     std::span<const Attachment> contexts) {
  std::string text;
  for (const Attachment& attachment : contexts) {
    const std::vector<int32_t> slots = attached_slots(attachment);
    check_belongs(compressor, base, *attachment.context);
    uint64_t at = 0;
    size_t next = 0;
    const auto& spans = attachment.context->slot_spans;
    for (size_t i = 0; i < spans.size(); ++i) {
      const uint64_t length = spans[i].end - spans[i].begin;
      OB_REQUIRE(at + length <= attachment.context->text.size(), Corrupt,
                 "a {} context's spans are longer than its text", compressor.describe().id);
      if (next < slots.size() && slots[next] == static_cast<int32_t>(i)) {
        text.append(attachment.context->text, at, length);
        ++next;
      }
      at += length;
    }
  }
  if (text.empty()) {
    return {};
  }
  return {{.tokens = kept_text_tokens(base.tokenizer, text)}};
}

void keep_spans(const Request& request, const text::Tokenizer& tokenizer,
                std::span<const ByteSpan> spans, CompressedContext& out) {
  const uint64_t begin = request.segment->span.begin;
  out.text.clear();
  out.slot_spans.clear();
  for (const ByteSpan& span : spans) {
    out.text += request.text.substr(span.begin, span.end - span.begin);
    if (!out.slot_spans.empty() && out.slot_spans.back().end == begin + span.begin) {
      out.slot_spans.back().end = begin + span.end;
    } else {
      out.slot_spans.push_back({begin + span.begin, begin + span.end});
    }
  }
  out.tokens_after = static_cast<int>(kept_text_tokens(tokenizer, out.text).size());
}

Plan plan_text(const model::ModelConfig& config, const Request& request, bool with_head) {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const auto tokens = static_cast<int32_t>(request.segment->tokens.size());
  return {.kept_tokens = kept_limit(tokens, request.budget),
          .bytes = request.text.size(),
          .flops = pass_flops(config, tokens, with_head)};
}

}  // namespace offbook::compress
