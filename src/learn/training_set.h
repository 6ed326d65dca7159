// Examples → what an adapter is trained on and judged by.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/answer/prompt_runner.h"
#include "src/model/language_model.h"
#include "src/records/context.h"
#include "src/train/lora_task.h"

namespace offbook::learn {

// The prompt that `ask` gives the model for a question: retrieved passages, compressed rest,
// question. Empty when `ask` would not ask the model.
using PromptMaker = std::function<answer::Prompt(const std::string& question)>;

struct SplitOptions {
  double held_out_share = 0.2;  // of each document's examples, rounded
  int max_held_out_per_document = 40;
  // Documents with at least twice as many examples hold back at least this many: what their
  // fidelity needs.
  int min_held_out_of_large = 0;
  uint64_t seed = 0;
};

struct ExampleSplit {
  std::vector<Example> training, held_out;  // each by document, then by a hash of the example's id
};

// Keeps back a part of every document's examples, the same ones for the same seed whatever else is
// in the list. A document of fewer than 4 examples keeps none back. Of examples that ask the same
// (normalised) question all go to one side.
ExampleSplit split_examples(std::vector<Example> examples, const SplitOptions& options);

// Up to `count` of the examples, spread over the documents: the first of each, the second of each…
std::vector<Example> spread(const std::vector<Example>& examples, size_t count);

// Tokens of an answer as the model is to write it, its end of turn included.
std::vector<int32_t> answer_tokens(const text::Tokenizer& tokenizer, text::ChatFormat format,
                                   const std::string& answer);

struct SequenceSet {
  std::vector<train::TrainingSequence> sequences;
  int64_t tokens = 0;
  int64_t not_asked = 0;  // `ask` finds no passage for them
  int64_t too_long = 0;   // longer than the model's window
};

// Prompt and first answer of each example.
SequenceSet make_sequences(const std::vector<Example>& examples, const PromptMaker& prompt_of,
                           const model::LanguageModel& model);

}  // namespace offbook::learn
