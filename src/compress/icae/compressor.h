// The method `icae`: memory slots in place of a segment's text, read by the base itself.
#pragma once
#include "src/compress/compressor.h"
#include "src/compress/icae/icae.h"
#include "src/compress/passes.h"

namespace offbook::compress {

// A segment is cut in balanced spans of at most ratio × memory tokens; each is encoded alone and
// leaves one slot per `ratio` tokens. Payloads are bf16. From its first compress() on holds the
// base with the encoder's adapter merged; readers use no adapter. A request's prior is not read:
// its slots stand in front when both are attached.
class IcaeCompressor final : public Compressor {
 public:
  // `ctx` is used by this call only. Corrupt where the weights do not fit the model.
  IcaeCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                 const CompressorWeights& weights);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;
  const CompressorWeights& weights() const override { return weights_; }

 private:
  struct Span;
  int32_t longest_span(int32_t ratio) const;
  std::vector<Span> spans_of(const Request& request, CompressedContext& out) const;
  void write(const backend::ExecutionContext& ctx, std::span<const Span> spans) const;
  void check_payload(const CompressedContext& context) const;

  const BaseModel base_;
  Description description_;
  CompressorWeights weights_;
  IcaeWeights icae_;
  MergedWriter writer_;
};

}  // namespace offbook::compress
