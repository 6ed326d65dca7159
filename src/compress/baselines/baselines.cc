#include "src/compress/baselines/baselines.h"

#include <algorithm>
#include <numeric>

#include "src/base/random.h"
#include "src/compress/text_context.h"

namespace offbook::compress {
namespace {

// Neighbouring tokens that together are whole characters; most are one token.
struct Unit {
  ByteSpan span;
  int32_t tokens = 0;
};

bool is_continuation_byte(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

std::vector<Unit> whole_units(const Request& request) {
  const Segment& segment = *request.segment;
  std::vector<Unit> units;
  bool is_open = false;
  for (const ByteSpan& span : segment.token_spans) {
    OB_REQUIRE(
        span.begin >= segment.span.begin && span.begin <= span.end &&
            span.end <= segment.span.end &&
            segment.span.end - segment.span.begin == request.text.size(),
        InvalidArgument,
        "segment {} of document {}: token span {}…{} in a segment {}…{} with {} bytes of text",
        segment.ordinal, segment.document_id, span.begin, span.end, segment.span.begin,
        segment.span.end, request.text.size());
    if (is_open) {
      units.back().span.end = std::max(units.back().span.end, span.end);
      ++units.back().tokens;
    } else {
      units.push_back({span, 1});
    }
    const uint64_t end = units.back().span.end - segment.span.begin;
    is_open = end < request.text.size() && is_continuation_byte(request.text[end]);
  }
  return units;
}

// The order in which units are taken until the budget is full.
std::vector<int32_t> order_of(Keep keep, size_t count, uint64_t seed) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (keep == Keep::head_and_tail) {
    for (size_t i = 0; i < count; ++i) {
      order[i] = static_cast<int32_t>(i % 2 == 0 ? i / 2 : count - 1 - i / 2);
    }
  } else if (keep == Keep::random) {
    Random random(seed);
    for (size_t i = count; i > 1; --i) {
      std::swap(order[i - 1], order[random.below(i)]);
    }
  }
  return order;
}

struct Selection {
  std::string text;
  std::vector<ByteSpan> spans;  // neighbours joined
};

Selection select(const Request& request, const std::vector<Unit>& units,
                 std::vector<int32_t> chosen) {
  std::sort(chosen.begin(), chosen.end());
  Selection out;
  for (const int32_t i : chosen) {
    const ByteSpan& span = units[static_cast<size_t>(i)].span;
    out.text +=
        request.text.substr(span.begin - request.segment->span.begin, span.end - span.begin);
    if (!out.spans.empty() && out.spans.back().end == span.begin) {
      out.spans.back().end = span.end;
    } else {
      out.spans.push_back(span);
    }
  }
  return out;
}

}  // namespace

std::string_view method_id(Keep keep) {
  switch (keep) {
    case Keep::head:
      return "truncate";
    case Keep::head_and_tail:
      return "head_tail";
    case Keep::random:
      return "random";
  }
  OB_CHECK(false);
}

KeptText::KeptText(const BaseModel& base, Keep keep)
    : base_(base),
      keep_(keep),
      description_{.id = std::string(method_id(keep)), .kind = ContextKind::text} {}

Plan KeptText::plan(const Request& request) const {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const auto tokens = static_cast<int32_t>(request.segment->tokens.size());
  const int32_t kept = kept_limit(tokens, request.budget);
  return {.kept_tokens = kept,
          .bytes = tokens == 0 ? 0
                               : request.text.size() * static_cast<uint64_t>(kept) /
                                     static_cast<uint64_t>(tokens)};
}

CompressedContext KeptText::compress_one(const Request& request) const {
  CompressedContext out = begin_context(*this, base_, request);
  const std::vector<Unit> units = whole_units(request);
  const int32_t limit = kept_limit(out.tokens_before, request.budget);
  std::vector<int32_t> chosen;
  int32_t tokens = 0;
  for (const int32_t i : order_of(keep_, units.size(), request.seed)) {
    const int32_t more = units[static_cast<size_t>(i)].tokens;
    if (tokens + more > limit) {
      break;
    }
    tokens += more;
    chosen.push_back(i);
  }
  Selection selection = select(request, units, chosen);
  // Cut text may read as more tokens than it was cut from: then less is kept.
  out.tokens_after = static_cast<int>(kept_text_tokens(base_.tokenizer, selection.text).size());
  while (out.tokens_after > limit) {
    chosen.resize(chosen.size() -
                  std::min(chosen.size(), static_cast<size_t>(out.tokens_after - limit)));
    selection = select(request, units, chosen);
    out.tokens_after = static_cast<int>(kept_text_tokens(base_.tokenizer, selection.text).size());
  }
  out.text = std::move(selection.text);
  out.slot_spans = std::move(selection.spans);
  return out;
}

std::vector<CompressedContext> KeptText::compress(const backend::ExecutionContext&,
                                                  std::span<const Request> requests) const {
  std::vector<CompressedContext> out;
  out.reserve(requests.size());
  for (const Request& request : requests) {
    out.push_back(compress_one(request));
  }
  return out;
}

std::vector<ContextPart> KeptText::attach(std::span<const Attachment> contexts,
                                          const AttachOptions&) const {
  return attach_text(*this, base_, contexts);
}

}  // namespace offbook::compress
