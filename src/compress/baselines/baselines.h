// Text that is simply kept: the beginning, both ends, or tokens drawn at random. Every learned
// method is shown beside these at an equal budget. METHOD.md beside this file.
#pragma once
#include "src/compress/compressor.h"

namespace offbook::compress {

enum class Keep : uint8_t { head, head_and_tail, random };

// "truncate", "head_tail", "random".
std::string_view method_id(Keep keep);

// Keeps whole tokens of the source, never a part of a UTF-8 character; what is kept reads as at
// most the budget's number of tokens (tokens_after is counted on the kept text).
class KeptText final : public Compressor {
 public:
  KeptText(const BaseModel& base, Keep keep);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;

 private:
  CompressedContext compress_one(const Request& request) const;

  const BaseModel base_;
  Keep keep_;
  Description description_;
};

}  // namespace offbook::compress
