// In-context autoencoder (arXiv 2307.06945) in the form of METHOD.md beside this file: memory
// tokens behind a span, whose final hidden states the frozen base reads as soft tokens.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "src/compress/autocompressor/autocompressor.h"
#include "src/train/trainer.h"

namespace offbook::compress {

// What stands between slots and text, as a learned input row.
enum class IcaeTask : uint8_t { autoencode = 0, continuation = 1, none = 2 };

// What training changes. `encoder.summary` are the k memory rows; the decoder is the base.
struct IcaeWeights {
  AutoWeights encoder;
  Tensor tasks;  // f32 [2, hidden]: [AE], [LM]
};

struct IcaeInit {
  model::LoraOptions lora{.rank = 32, .alpha = 64, .targets = model::kEveryMatrix};
  int32_t memory_tokens = 128;
  float noise = 0.02f;  // on memory and task rows
};

IcaeWeights new_icae(const backend::ExecutionContext& ctx, const BaseModel& base,
                     const IcaeInit& init);
void put_icae(const IcaeWeights& icae, CompressorWeights& weights);
// Corrupt where names, shapes or settings do not fit the model.
IcaeWeights take_icae(const CompressorWeights& weights, const model::ModelConfig& config);

// With its tensors on ctx's device, and copies on the CPU; the same tensors where ctx is the CPU.
IcaeWeights on_device(const backend::ExecutionContext& ctx, const IcaeWeights& icae);
IcaeWeights on_host(const backend::ExecutionContext& ctx, const IcaeWeights& icae);

// Ends of balanced spans of at most `most` tokens (a multiple of `ratio`), all but the last of
// whole slots: spans add no slots.
std::vector<int32_t> whole_slot_spans(int32_t tokens, int32_t most, int32_t ratio);

// Text behind slots: which slots (a row of the encoding pass each), what is said in between, and
// the text whose first token is predicted as well.
struct IcaeReading {
  Tensor slots;  // [n, hidden]
  IcaeTask task = IcaeTask::none;
  std::span<const int32_t> tokens;
  int32_t first_target = 0;
};

// Losses of readings by the base; with a tape, the gradient of their sum is seeded.
std::vector<train::LossSum> read_icae(const Graph& g, const model::Llama& base,
                                      const IcaeWeights& weights,
                                      std::span<const IcaeReading> readings,
                                      const AutoPassOptions& options);

}  // namespace offbook::compress
