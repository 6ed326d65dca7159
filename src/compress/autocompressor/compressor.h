// The method `autocompressor`: summary vectors in place of a segment's text.
#pragma once
#include "src/compress/autocompressor/autocompressor.h"
#include "src/compress/compressor.h"
#include "src/compress/passes.h"

namespace offbook::compress {

// A segment is cut in parts of at most ratio × summary tokens; each part reads the vectors of those
// before it (of the prior's, when the request has one, first) and leaves one vector per `ratio`
// tokens. Payloads are bf16. From its first compress() on holds the base with the adapter merged.
// Readers run under reader_adapter(): vectors are made for the model that made them.
class AutoCompressor final : public Compressor {
 public:
  // Most vectors read in front of a part, the newest; training saw three times 50.
  static constexpr int32_t kMostBefore = 512;

  // `ctx` is used by this call only. Corrupt where the weights do not fit the model.
  AutoCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                 const CompressorWeights& weights);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;
  const model::LoraAdapter* reader_adapter() const override { return &auto_.lora; }
  const CompressorWeights& weights() const override { return weights_; }

 private:
  struct Job;
  int32_t part_tokens(int32_t ratio) const;
  Job start(const Request& request, CompressedContext& out) const;
  void write(const backend::ExecutionContext& ctx, std::span<Job* const> jobs) const;
  Tensor vectors_before(const Job& job) const;
  void check_payload(const CompressedContext& context) const;

  const BaseModel base_;
  Description description_;
  CompressorWeights weights_;
  AutoWeights auto_;
  MergedWriter writer_;
};

}  // namespace offbook::compress
