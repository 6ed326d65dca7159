// A task's prompt with a context in it, cut where the context ends: what stands before is the same
// for all questions on one context and computed once.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/compress/compressor.h"
#include "src/evaluate/cases.h"
#include "src/evaluate/contexts.h"
#include "src/text/chat_template.h"

namespace offbook::evaluate {

struct ReadPrompt {
  std::vector<compress::ContextPart> head;  // up to the end of the context
  std::string head_key;                     // equal keys, equal heads
  std::vector<int32_t> tail;                // question and the opening of the answer
  const model::LoraAdapter* adapter = nullptr;

  int64_t tokens() const;
};

class PromptMaker {
 public:
  // Without a chat format prompts are plain text that ends in the case's answer stem; in one, the
  // stem begins the answer of tasks that say so.
  PromptMaker(const text::Tokenizer& tokenizer, std::optional<text::ChatFormat> format)
      : tokenizer_(tokenizer), format_(format) {}

  // Tokens that `window` leaves for the context, with the answer's. Negative where the question
  // alone is too long.
  int64_t room(const Task& task, const Case& c, int64_t window) const;

  ReadPrompt make(const Task& task, const Case& c, const MadeContext& context) const;

  // For Measure::continuation: the context and nothing else; the text that follows is the tail.
  ReadPrompt plain(const Case& c, const MadeContext& context) const;

 private:
  text::ChatPrompt render(const Task& task, const Case& c, std::string_view context,
                          bool is_alone) const;

  const text::Tokenizer& tokenizer_;
  std::optional<text::ChatFormat> format_;
};

// The options as "A. first\nB. second".
std::string lettered(const std::vector<std::string>& options);

}  // namespace offbook::evaluate
