// What methods that keep text share: counting it and attaching it.
#pragma once
#include "src/compress/compressor.h"

namespace offbook::compress {

// The tokens a kept text is attached as, which are those its budget counts.
std::vector<int32_t> kept_text_tokens(const text::Tokenizer& tokenizer, std::string_view text);

// The chosen slots' text as one part, as Compressor::attach says. Corrupt for spans longer than a
// text.
std::vector<ContextPart> attach_text(const Compressor& compressor, const BaseModel& base,
                                     std::span<const Attachment> contexts);

// Fills text, spans and tokens_after from spans of request.text, which follow each other.
void keep_spans(const Request& request, const text::Tokenizer& tokenizer,
                std::span<const ByteSpan> spans, CompressedContext& out);

// Of any method that keeps text and reads it in one pass.
Plan plan_text(const model::ModelConfig& config, const Request& request, bool with_head);

}  // namespace offbook::compress
