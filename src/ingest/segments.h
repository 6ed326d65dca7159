// Passages → segments, the stretches that a compressor reads at once.
#pragma once
#include <vector>

#include "src/ingest/token_counter.h"
#include "src/records/document.h"

namespace offbook::ingest {

inline constexpr int kMaxSegmentTokens = 1536;

// Runs of whole passages, in order, each as long as max_tokens base tokens allow; every passage is
// in exactly one. A segment's span goes from its first passage's begin to its last one's end, so
// the text between passages (blank, or a repeated overlap) is read once; token spans are offsets
// into the document's text. InvalidArgument for a passage that alone is longer than max_tokens, or
// passages of another document. Cost: about 1.1 tokenisations of the text. Thread-safe.
std::vector<Segment> make_segments(const Document& document, const std::vector<Passage>& passages,
                                   const TokenCounter& counter, int max_tokens = kMaxSegmentTokens);

}  // namespace offbook::ingest
