// Keeps the phrases a model finds least predictable, found by rules (`phrase-approx`), the base
// model scoring.
#pragma once
#include "src/compress/compressor.h"

namespace offbook::compress {

// What is kept stands in the source as it is, and counts at most the budget's tokens. Cost: one
// pass of the base model over the segment, every request by itself.
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
  CompressedContext compress_one(const backend::ExecutionContext& ctx,
                                 const Request& request) const;

  const BaseModel base_;
  Description description_;
};

}  // namespace offbook::compress
