// Keeps the words the last token of the prompt with the question attends to; rules `exact`, phrase
// filter.
#pragma once
#include "src/compress/compressor.h"
#include "src/compress/quito/chosen_heads.h"

namespace offbook::compress {

// What is kept stands in the source as it is, and counts at most the budget's tokens. Requests
// that follow each other with the same text share its pass; each question costs its own tokens
// behind it (weigh_questions()).
class QuitoCompressor final : public Compressor {
 public:
  // Rows of tables: `quito`, `quito_no_sink`, `quito_heads`.
  enum class Row : uint8_t { published, without_first_token, chosen_heads };
  // `chosen` is read with chosen_heads only; Unsupported where it has no heads.
  QuitoCompressor(const BaseModel& base, Row row, const ChosenAttention& chosen);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;

 private:
  CompressedContext filter(const Request& request, const WeightedText& weighted) const;

  const BaseModel base_;
  QuitoOptions options_;
  Description description_;
};

}  // namespace offbook::compress
