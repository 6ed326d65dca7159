// Keeps the phrases a model finds least predictable, found by rules (`phrase-approx`), the base
// model scoring.
#pragma once
#include "src/compress/compressor.h"
#include "src/compress/selective_context/selective_context.h"

namespace offbook::compress {

// What is kept stands in the source as it is, and counts at most the budget's tokens. Cost: one
// pass of the base model over the segment, every request by itself; requests that follow each other
// with the same text share it.
class SelectiveContextCompressor final : public Compressor {
 public:
  explicit SelectiveContextCompressor(const BaseModel& base);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;

 private:
  CompressedContext select(const Request& request, const ScoredText& scored) const;

  const BaseModel base_;
  Description description_;
};

}  // namespace offbook::compress
