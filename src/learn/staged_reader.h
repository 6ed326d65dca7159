// A decoder reading prompts stage by stage, so that what many prompts begin with is computed once.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/model/language_model.h"

namespace offbook::learn {

// Stages are cut at the same tokens every time, so results do not depend on what was read before:
// a run that was stopped and resumed gives the same bits. Not thread-safe; both must outlive it.
class StagedReader {
 public:
  StagedReader(const model::LanguageModel& model, model::Decoder& decoder)
      : model_(model), decoder_(decoder) {}

  // Tokens of a chat, cut at the messages' cuts: cuts + 1 stages.
  std::vector<std::vector<int32_t>> stages(const std::vector<text::ChatMessage>& messages) const;

  model::Sequence start() { return decoder_.make_sequence(); }
  // `base` and the tokens behind it; its memory is shared.
  model::Sequence follow(const model::Sequence& base, std::span<const int32_t> tokens);

  // The likeliest continuation of each prompt (at most 8, decoded side by side), up to a stop
  // token, `max_tokens` or the first text that `is_done` accepts.
  struct Prompt {
    const model::Sequence* base = nullptr;
    std::vector<int32_t> tokens;  // behind it, at least one
  };
  std::vector<std::string> complete(std::span<const Prompt> prompts, int max_tokens,
                                    bool (*is_done)(const std::string& text));

  // Mean log-probability of a token of `answer` behind the prompt.
  double log_probability(const Prompt& prompt, std::span<const int32_t> answer);

  const model::LanguageModel& model() const { return model_; }

 private:
  const model::LanguageModel& model_;
  model::Decoder& decoder_;
};

}  // namespace offbook::learn
