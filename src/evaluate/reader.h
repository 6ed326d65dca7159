// The model answers prompts, several at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/evaluate/prompt.h"
#include "src/model/decoder.h"
#include "src/model/sampler.h"

namespace offbook::evaluate {

struct Decoding {
  int32_t max_tokens = 32;
  std::vector<std::string> stop;
  float temperature = 0;
  std::vector<uint64_t> seeds;  // one a prompt; read when temperature > 0
};

struct Reading {
  std::string text;
  int32_t tokens = 0;         // generated
  bool is_cold = false;       // all of the prompt was computed
  double prompt_seconds = 0;  // of what was computed: its share of the passes
  double decode_seconds = 0;  // its share of the decode steps it took part in
};

struct ContinuationLoss {
  double nll_sum = 0;  // nats
  int64_t tokens = 0;
};

// Prompts that follow each other with one head share its keys and values. Heads and tails are
// always passes of their own, so that an answer does not depend on what was computed before. With
// batches of up to kSameBits it does not depend on what is computed beside it either: one head or
// tail a pass, and decode steps of so many rows give the same bits as of one (docs/decisions/0003).
// Larger batches read as many heads, or tails, in a pass as it takes. Not thread-safe; model and
// decoder must outlive it.
class Reader {
 public:
  static constexpr int32_t kSameBits = 8;

  // `pass_rows`: tokens that heads or tails of a large batch bring to a pass at most; not above the
  // decoder's prefill_rows.
  Reader(const compress::BaseModel& model, model::Decoder& decoder, int32_t batch,
         int32_t pass_rows = 512);

  // Readings in the order of the prompts, at most `batch` at a time and as many as the cache holds.
  // InvalidArgument where a prompt with its answer is longer than the window or the cache.
  std::vector<Reading> read(const std::vector<ReadPrompt>& prompts, const Decoding& decoding);

  // −ln p of the tail behind the head. InvalidArgument as read(). The head's keys and values are
  // computed anew.
  ContinuationLoss loss(const ReadPrompt& prompt);

  int32_t batch() const noexcept { return batch_; }

 private:
  struct Row;
  // The end of the items from `begin` on that share a pass; rows_of: what one takes of it.
  size_t pass_end(size_t begin, size_t end, const std::function<size_t(size_t)>& rows_of) const;
  void take_head(const ReadPrompt& prompt);
  void take_heads(std::span<const std::span<Row>> runs);
  void start_rows(std::vector<Row>& rows);
  void read_tails(std::vector<Row>& rows, const Decoding& decoding);
  void read_group(std::vector<Row>& rows, const Decoding& decoding);
  void take_token(Row& row, int32_t token, const Decoding& decoding);
  void take_tokens(std::span<Row* const> rows, const Tensor& logits, const Decoding& decoding);

  const text::Tokenizer& tokenizer_;
  model::Decoder& decoder_;
  int32_t batch_;
  size_t pass_rows_;
  std::vector<int32_t> ends_;            // tokens that end an answer
  std::optional<model::Sequence> head_;  // of the last prompt
  std::string head_key_;
  std::vector<float> logits_;
};

}  // namespace offbook::evaluate
