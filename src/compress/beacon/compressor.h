// The method `beacon`: slots' keys and values of every layer in place of a segment's text.
#pragma once
#include "src/compress/beacon/weights.h"
#include "src/compress/compressor.h"
#include "src/compress/passes.h"

namespace offbook::compress {

// From its first compress() on holds the base with the writer's adapter merged (bf16, or f32 where
// ctx computes in f32): twice the bytes of a 16-bit model. Payloads are bf16; slots keep the
// budget, the sink is kept besides, once a context. Segments longer than a pass are written in
// parts, each behind a sink of its own, or behind what was written before when the request has a
// prior. Ratios that were not trained borrow the slot vector of the nearest one.
class BeaconCompressor final : public Compressor {
 public:
  // `ctx` is used by this call only. Corrupt where the weights do not fit the model.
  BeaconCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                   const CompressorWeights& weights);

  const Description& describe() const override { return description_; }
  Plan plan(const Request& request) const override;
  std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                          std::span<const Request> requests) const override;
  std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                  const AttachOptions& options) const override;
  const model::LoraAdapter* reader_adapter() const override { return beacon_.reader_or_null(); }
  const CompressorWeights& weights() const override { return weights_; }

 private:
  struct Part;
  int32_t part_tokens(int32_t ratio, int32_t prior) const;
  std::vector<Part> parts_of(const Request& request, CompressedContext& out) const;
  void write(const backend::ExecutionContext& ctx, std::span<const Part> parts) const;
  void write_behind_prior(const backend::ExecutionContext& ctx, const Request& request,
                          std::span<const Part> parts) const;
  void check_payload(const CompressedContext& context) const;

  const BaseModel base_;
  Description description_;
  CompressorWeights weights_;
  BeaconWeights beacon_;
  MergedWriter writer_;
};

}  // namespace offbook::compress
