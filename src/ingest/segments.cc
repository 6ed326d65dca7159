#include "src/ingest/segments.h"

#include "src/base/error.h"

namespace offbook::ingest {
namespace {

// New tokens a passage brings to a segment that ends at `from`: its own share behind the overlap,
// and one for the white space in front.
double new_tokens(const Passage& passage, uint64_t from) {
  const auto bytes = static_cast<double>(passage.span.end - passage.span.begin);
  const uint64_t begin = std::max(passage.span.begin, from);
  return 1 + passage.base_tokens * static_cast<double>(passage.span.end - begin) / bytes;
}

Segment tokenized(const Document& document, const Passage& first, const Passage& last,
                  const TokenCounter& counter) {
  Segment segment{.document_id = document.id,
                  .first_passage = first.ordinal,
                  .last_passage = last.ordinal,
                  .span = {first.span.begin, last.span.end}};
  const std::string_view text =
      std::string_view(document.text).substr(segment.span.begin, last.span.end - first.span.begin);
  BaseTokens tokens = counter.tokenize_base(text);
  for (ByteSpan& span : tokens.spans) {
    span.begin += segment.span.begin;
    span.end += segment.span.begin;
  }
  segment.tokens = std::move(tokens.ids);
  segment.token_spans = std::move(tokens.spans);
  return segment;
}

void require_passages_of(const Document& document, const std::vector<Passage>& passages) {
  uint64_t end = 0;
  for (const Passage& passage : passages) {
    const bool belongs = passage.document_id == document.id &&
                         passage.span.begin < passage.span.end && passage.span.end > end &&
                         passage.span.end <= document.text.size();
    OB_REQUIRE(belongs, InvalidArgument, "passage {} [{}, {}) is not one of document {}",
               passage.ordinal, passage.span.begin, passage.span.end, document.path);
    end = passage.span.end;
  }
}

}  // namespace

std::vector<Segment> make_segments(const Document& document, const std::vector<Passage>& passages,
                                   const TokenCounter& counter, int max_tokens) {
  require_passages_of(document, passages);
  std::vector<Segment> segments;
  for (size_t first = 0; first < passages.size();) {
    double estimate = passages[first].base_tokens;
    size_t end = first + 1;
    while (end < passages.size() &&
           (estimate += new_tokens(passages[end], passages[end - 1].span.end)) <= max_tokens) {
      ++end;
    }
    Segment segment = tokenized(document, passages[first], passages[end - 1], counter);
    while (segment.tokens.size() > static_cast<size_t>(max_tokens)) {
      OB_REQUIRE(end > first + 1, InvalidArgument,
                 "passage {} has {} tokens, a segment may have {}", passages[first].ordinal,
                 segment.tokens.size(), max_tokens);
      --end;
      segment = tokenized(document, passages[first], passages[end - 1], counter);
    }
    segment.ordinal = static_cast<int>(segments.size());
    segments.push_back(std::move(segment));
    first = end;
  }
  return segments;
}

}  // namespace offbook::ingest
