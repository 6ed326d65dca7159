// The model answers prompts, several at a time.
#pragma once
#include <cstdint>
#include <optional>
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
  double prompt_seconds = 0;  // of what was computed
  double decode_seconds = 0;  // its share of the decode steps it took part in
};

struct ContinuationLoss {
  double nll_sum = 0;  // nats
  int64_t tokens = 0;
};

// Prompts that follow each other with one head share its keys and values. Head and tail are always
// passes of their own, and each prompt's tail too, so that an answer does not depend on what was
// computed before or beside it (decode steps of up to 8 rows give the same bits as of one,
// docs/decisions/0003). Not thread-safe; model and decoder must outlive it.
class Reader {
 public:
  Reader(const compress::BaseModel& model, model::Decoder& decoder, int32_t batch);

  // Readings in the order of the prompts, at most `batch` at a time and as many as the cache holds.
  // InvalidArgument where a prompt with its answer is longer than the window or the cache.
  std::vector<Reading> read(const std::vector<ReadPrompt>& prompts, const Decoding& decoding);

  // −ln p of the tail behind the head. InvalidArgument as read(). The head's keys and values are
  // computed anew.
  ContinuationLoss loss(const ReadPrompt& prompt);

  int32_t batch() const noexcept { return batch_; }

 private:
  struct Row;
  // Seconds it took: 0 where the head is the one of the prompt before.
  double take_head(const ReadPrompt& prompt);
  void read_group(std::vector<Row>& rows, const Decoding& decoding);
  void take_token(Row& row, const float* logits, const Decoding& decoding);

  const text::Tokenizer& tokenizer_;
  model::Decoder& decoder_;
  int32_t batch_;
  std::vector<int32_t> ends_;            // tokens that end an answer
  std::optional<model::Sequence> head_;  // of the last prompt
  std::string head_key_;
  std::vector<float> logits_;
};

}  // namespace offbook::evaluate
