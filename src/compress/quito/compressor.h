// Keeps the words the last token of the prompt with the question attends to; rules `exact`, phrase
// filter.
#pragma once
#include "src/compress/compressor.h"

namespace offbook::compress {

// What is kept stands in the source as it is, and counts at most the budget's tokens. Cost: one
// pass of the base model over the segment, every request by itself.
class QuitoCompressor final : public Compressor {
 public:
  explicit QuitoCompressor(const BaseModel& base);

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
